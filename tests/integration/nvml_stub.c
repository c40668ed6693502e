/* A driver library for tests: just enough of NVML for an unmodified nvidia-ml-py. Two GPUs;
 * some calls are missing on purpose, as in old drivers. Xid 79 comes on GPU 1 by event wait, and
 * GPU 1 is lost once the file named by WK_STUB_LOST exists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int index; } gpu_t;
typedef gpu_t *device;
static gpu_t gpus[2] = {{0}, {1}};
static int events_set;
static int registered[2];
static int told;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, TIMEOUT = 10, GPU_IS_LOST = 15 };

static int lost(device d) {
  const char *file = getenv("WK_STUB_LOST");
  return d->index == 1 && file && access(file, F_OK) == 0;
}
#define NEEDS(d) if (lost(d)) return GPU_IS_LOST

int nvmlInitWithFlags(unsigned flags) { (void)flags; return OK; }
int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "error"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) {
  if (i > 1) return INVALID;
  *d = &gpus[i];
  return lost(*d) ? GPU_IS_LOST : OK;
}

typedef struct { char legacy[16]; unsigned domain, bus, dev, id, sub; char bus_id[32]; } pci_t;
int nvmlDeviceGetPciInfo_v3(device d, pci_t *p) {
  NEEDS(d);
  memset(p, 0, sizeof *p);
  snprintf(p->bus_id, sizeof p->bus_id, "00000000:%02X:00.0", 0x3b + d->index);
  return OK;
}
typedef struct { unsigned gpu, memory; } use_t;
int nvmlDeviceGetUtilizationRates(device d, use_t *u) {
  NEEDS(d);
  u->gpu = 87 + d->index;
  u->memory = 40;
  return OK;
}
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlDeviceGetMemoryInfo(device d, memory_t *m) {
  NEEDS(d);
  m->total = 81920ULL << 20;
  m->used = 65536ULL << 20;
  m->free = m->total - m->used;
  return OK;
}
/* nvmlDeviceGetTemperatureV is missing: the collector must fall back to the older call. */
int nvmlDeviceGetTemperature(device d, int sensor, unsigned *t) {
  (void)sensor;
  NEEDS(d);
  *t = 61 + d->index;
  return OK;
}
int nvmlDeviceGetPowerUsage(device d, unsigned *mw) { NEEDS(d); *mw = 412500; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *mw) { NEEDS(d); *mw = 700000; return OK; }
int nvmlDeviceGetTotalEccErrors(device d, int kind, int counter, unsigned long long *n) {
  NEEDS(d);
  if (counter != 1) return NOT_SUPPORTED; /* aggregate only */
  *n = kind == 0 ? 7 : 2;
  return OK;
}
int nvmlDeviceGetNvLinkState(device d, unsigned link, int *up) {
  NEEDS(d);
  if (link >= 4) return NOT_SUPPORTED;
  *up = link != 3;
  return OK;
}
/* GPU 0 has asked for a remap that it could not have: its memory is worn. */
int nvmlDeviceGetRemappedRows(device d, unsigned *corr, unsigned *unc, unsigned *pending, unsigned *failed) {
  NEEDS(d);
  *corr = 0;
  *unc = d->index ? 0 : 9;
  *pending = 0;
  *failed = d->index ? 0 : 1;
  return OK;
}
/* nvmlDeviceGetClockInfo and the throttle reasons are missing: those columns stay Unknown. */

int nvmlEventSetCreate(int **set) { *set = &events_set; return OK; }
int nvmlEventSetFree(int *set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(device d, unsigned long long types, int *set) {
  (void)set;
  if (!(types & 8)) return NOT_SUPPORTED;
  registered[d->index] = 1;
  return OK;
}
typedef struct { device d; unsigned long long type, data; unsigned gi, ci; } event_t;
int nvmlEventSetWait_v2(int *set, event_t *e, unsigned ms) {
  (void)set;
  if (told || !registered[1]) {
    usleep(ms * 1000);
    return TIMEOUT;
  }
  told = 1;
  e->d = &gpus[1];
  e->type = 8;
  e->data = 79;
  e->gi = e->ci = 0xffffffff;
  return OK;
}
