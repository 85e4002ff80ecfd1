/* A histogram of times, in steps of 10 µs up to 2 s. */

#ifndef BENCHMARKS_LATENCIES_H
#define BENCHMARKS_LATENCIES_H

#include <stdint.h>
#include <string.h>

enum { LATENCY_STEP_NANOSECONDS = 10000, LATENCY_STEPS = 200000 };

struct latencies {
    uint32_t steps[LATENCY_STEPS];
    unsigned long long count;
};

static inline void keep_latency(struct latencies *kept, uint64_t from, uint64_t to)
{
    uint64_t step = to > from ? (to - from) / LATENCY_STEP_NANOSECONDS : 0;
    kept->steps[step < LATENCY_STEPS ? step : LATENCY_STEPS - 1]++;
    kept->count++;
}

/* In seconds: as many of them were as long or shorter as `share` says. */
static inline double latency_at(const struct latencies *kept, double share)
{
    unsigned long long rank = (unsigned long long)((double)kept->count * share), seen = 0;
    for (int step = 0; step < LATENCY_STEPS; step++)
        if ((seen += kept->steps[step]) > rank)
            return (step + 1) * (LATENCY_STEP_NANOSECONDS / 1e9);
    return LATENCY_STEPS * (LATENCY_STEP_NANOSECONDS / 1e9);
}

static inline double longest_latency(const struct latencies *kept)
{
    return kept->count ? latency_at(kept, (double)(kept->count - 1) / (double)kept->count) : 0.0;
}

static inline void forget_latencies(struct latencies *kept)
{
    memset(kept, 0, sizeof *kept);
}

#endif
