/* Answers as libnvidia-ml.so.1 would, with what the file $FAKE_NVML says now: "name value" a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { WHOLE = 1, INSTANCE = 2 }; /* handles */

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;

static int text(const char *name, char *value, size_t size) {
    char line[256], key[64], found[128];
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    int there = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %127s", key, found) == 2 && strcmp(key, name) == 0) {
            snprintf(value, size, "%s", found);
            there = 1;
        }
    if (file) fclose(file);
    return there;
}

static long long number(const char *name) {
    char value[128];
    return text(name, value, sizeof value) ? atoll(value) : 0;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return (int)number("init"); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error"; }
int nvmlSystemGetDriverVersion(char *version, unsigned size) { snprintf(version, size, "580.1"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return SUCCESS; }
int nvmlDeviceGetName(void *device, char *name, unsigned size) {
    (void)device;
    snprintf(name, size, "Stand-in");
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    (void)device;
    *major = 8;
    *minor = 6;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)WHOLE;
    return index == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size) {
    (void)device;
    snprintf(uuid, size, "GPU-11112222-3333");
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = (void *)INSTANCE;
    return strcmp(uuid, "MIG-aaaa-bbbb") == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
    (void)device;
    *now = *pending = (unsigned)number("mig");
    return number("mig") < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **instance) {
    (void)device;
    *instance = (void *)INSTANCE;
    return index == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    memory->total = (unsigned long long)number(device == (void *)INSTANCE ? "instance" : "total");
    memory->used = (unsigned long long)number("used");
    memory->free = memory->total - memory->used;
    return (int)number("memory");
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Process *processes) {
    unsigned there = number("ours") ? 2 : 1;
    (void)device;
    if (number("processes")) return (int)number("processes");
    if (*count < there) {
        *count = there;
        return INSUFFICIENT_SIZE;
    }
    processes[0] = (Process){1, 777, 0, 0}; /* somebody else */
    if (there == 2) processes[1] = (Process){(unsigned)getpid(), (unsigned long long)number("ours"), 0, 0};
    *count = there;
    return SUCCESS;
}
