"""Policy text to checked policy to verdict. Pure; the only door to CEL and YAML text."""
