/* The least of WebSocket (RFC 6455) that a member needs: a handshake, frames of its own, pongs, and to notice a close. */

#ifndef BENCHMARKS_FRAMES_H
#define BENCHMARKS_FRAMES_H

#include "net.h"

#include <stdbool.h>
#include <stdint.h>

/* The key of the RFC's example and its answer, which the ceiling knows by heart. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { OPCODE_TEXT = 1, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10, CONTROL_MAX = 125, FRAME_HEAD_MAX = 14 };

static inline size_t upgrade_request(char *into, size_t size, const char *host, const char *port, const char *path)
{
    return (size_t)snprintf(into, size,
                            "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WEBSOCKET_KEY "\r\n\r\n",
                            path, host, port);
}

/* Writes the head of a frame; a client's is masked, here by the key 0, which leaves the payload as it is. */
static inline size_t frame_head(unsigned char *into, int opcode, size_t length, bool masked)
{
    size_t used = 2;
    into[0] = (unsigned char)(0x80 | opcode);
    if (length < 126)
        into[1] = (unsigned char)length;
    else if (length < 65536) {
        into[1] = 126;
        into[2] = (unsigned char)(length >> 8);
        into[3] = (unsigned char)length;
        used = 4;
    } else {
        into[1] = 127;
        for (int i = 0; i < 8; i++)
            into[2 + i] = (unsigned char)((uint64_t)length >> (56 - 8 * i));
        used = 10;
    }
    if (masked) {
        into[1] |= 0x80;
        memset(into + used, 0, 4);
        used += 4;
    }
    return used;
}

/* Where a connection stands among the frames that a server sends. */
struct frame_reader {
    uint64_t payload_left;
    uint8_t head[10];
    uint8_t head_length;
    uint8_t opcode;
    uint8_t control_length;
    uint8_t control[CONTROL_MAX];
    uint32_t frames; /* whole ones so far */
};

static inline void answer_ping(struct frame_reader *reader, int fd)
{
    unsigned char pong[FRAME_HEAD_MAX + CONTROL_MAX];
    size_t used = frame_head(pong, OPCODE_PONG, reader->control_length, true);
    memcpy(pong + used, reader->control, reader->control_length);
    send(fd, pong, used + reader->control_length, MSG_NOSIGNAL);
}

/* Walks over these bytes from frame to frame, looking into none but pings, which it answers. */
static inline void walk_frames(struct frame_reader *reader, int fd, const char *p, const char *end)
{
    while (p < end) {
        if (!reader->payload_left) {
            reader->head[reader->head_length++] = (uint8_t)*p++;
            uint8_t short_length = reader->head[1] & 0x7f;
            unsigned whole = reader->head_length < 2 ? 2 : short_length == 127 ? 10 : short_length == 126 ? 4 : 2;
            if (reader->head_length < whole)
                continue;
            reader->payload_left = whole == 2 ? short_length : 0;
            for (unsigned i = 2; i < whole; i++)
                reader->payload_left = reader->payload_left << 8 | reader->head[i];
            reader->opcode = reader->head[0] & 0xf;
            reader->head_length = reader->control_length = 0;
        } else {
            uint64_t here = (uint64_t)(end - p) < reader->payload_left ? (uint64_t)(end - p) : reader->payload_left;
            if (reader->opcode >= OPCODE_CLOSE && reader->control_length + here <= CONTROL_MAX) {
                memcpy(reader->control + reader->control_length, p, here);
                reader->control_length = (uint8_t)(reader->control_length + here);
            }
            p += here;
            reader->payload_left -= here;
        }
        if (!reader->payload_left && !reader->head_length) {
            reader->frames++;
            if (reader->opcode == OPCODE_PING)
                answer_ping(reader, fd);
        }
    }
}

#endif
