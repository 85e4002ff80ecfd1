/* Counts a marker in a stream of bytes, wherever the reads cut it. */

#ifndef BENCHMARKS_MARKER_H
#define BENCHMARKS_MARKER_H

#include "net.h"

#include <stdint.h>

enum { MARKER_MAX = 64, STAMP_DIGITS = 16 };

static const char *marker;
static uint8_t marker_length;
static uint8_t marker_next[MARKER_MAX][256];

/* What has been seen of it at the end of the last read of one connection. */
struct marker_state {
    uint8_t matched;
    uint8_t stamp_left; /* digits of the stamp still to come */
    uint64_t stamp;
};

/* The matcher: marker_next[m][c] says how much of the marker is matched when c follows m matched bytes. */
static void prepare_marker(const char *text)
{
    marker = text;
    size_t length = strlen(marker);
    if (length < 1 || length >= MARKER_MAX)
        die("the marker must have 1 to %d bytes", MARKER_MAX - 1);
    marker_length = (uint8_t)length;
    unsigned fallback = 0; /* the state of marker[1..m), which is where a mismatch after m bytes goes on */
    for (unsigned m = 0; m < length; m++) {
        for (unsigned c = 0; c < 256; c++)
            marker_next[m][c] = m ? marker_next[fallback][c] : 0;
        if (m)
            fallback = marker_next[fallback][(uint8_t)marker[m]];
        marker_next[m][(uint8_t)marker[m]] = (uint8_t)(m + 1);
    }
}

/* How many markers end in these bytes. Where `stamped` is given it is called with the hexadecimal number that follows
   each marker, nanoseconds on CLOCK_MONOTONIC. */
static inline unsigned count_markers(struct marker_state *state, const char *p, const char *end,
                                     void (*stamped)(uint64_t))
{
    unsigned found = 0, matched = state->matched;
    while (p < end) {
        if (state->stamp_left) {
            char c = *p++;
            state->stamp = state->stamp << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
            if (!--state->stamp_left)
                stamped(state->stamp);
            continue;
        }
        if (matched == 0 && !(p = memchr(p, marker[0], (size_t)(end - p))))
            break;
        matched = marker_next[matched][(uint8_t)*p++];
        if (matched == marker_length) {
            found++;
            matched = 0;
            if (stamped) {
                state->stamp_left = STAMP_DIGITS;
                state->stamp = 0;
            }
        }
    }
    state->matched = (uint8_t)matched;
    return found;
}

#endif
