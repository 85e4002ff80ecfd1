/* A publisher as applications write it: one keep-alive connection, one request at a time, the next one only after the
   answer to the last. Or a member of a room, by WebSocket.

   publisher -n MESSAGES -t SECONDS -m MARKER -z SIZE [-b BATCH] [-r RATE] [-w WINDOW] HOST PORT PATH

     -z   bytes of each message's text: the marker, the time of its sending as 16 hexadecimal digits, and filling
     -b   messages a request, as NDJSON; 1 is a POST of JSON
     -r   messages a second, on a schedule that does not slip when an answer is late; else as fast as answers come
     -w   a member of the room at PATH: each message is a frame, and at most WINDOW of its own are not back yet

   Sends MESSAGES messages, or as many as it can within SECONDS, and then says on stdout in one line of JSON how many
   were sent, when it began, how long they took, the 50th and 99th percentile of the waits in seconds (for an answer;
   with -w, for the message to come back), and its own processor time. */

#define _GNU_SOURCE
#include "frames.h"
#include "marker.h"

#include <getopt.h>

enum { ANSWER_MAX = 4 * 1024 * 1024, WINDOW_MAX = 1024, PATIENCE_SECONDS = 10 };

static const char *host, *port, *path;
static long messages, size = 200, batch = 1, window;
static double seconds, rate;

static char answer[ANSWER_MAX + 1];
static char *request;      /* whole, its stamps to be filled in */
static size_t request_length;
static char **stamps;      /* where, one a message */
static double *waits;

static int open_connection(void)
{
    struct sockaddr_in server = ipv4_address(host, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
        die("publisher: connect: %s", strerror(errno));
    send_without_delay(fd);
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* Appends one message, leaving room for its stamp. */
static char *put_message(char *into, const char *before, char **stamp)
{
    into = stpcpy(stpcpy(into, before), marker);
    *stamp = into;
    long filling = size - marker_length;
    memset(into, '0', STAMP_DIGITS);
    memset(into + STAMP_DIGITS, 'x', (size_t)(filling - STAMP_DIGITS));
    return stpcpy(into + filling, "\"}");
}

static void prepare_request(void)
{
    const char *before = window ? "{\"type\":\"message\",\"data\":\"" : "{\"data\":\"";
    size_t room = (size_t)batch * (strlen(before) + (size_t)size + 3) + 1024 + strlen(path);
    char *body = malloc(room);
    request = malloc(room);
    stamps = calloc((size_t)batch, sizeof *stamps);
    if (!body || !request || !stamps)
        die("publisher: no memory");
    char *end = body;
    for (long i = 0; i < batch; i++) {
        if (i)
            *end++ = '\n';
        end = put_message(end, before, &stamps[i]);
    }
    size_t length = (size_t)(end - body);
    size_t head = window ? frame_head((unsigned char *)request, OPCODE_TEXT, length, true)
                         : (size_t)snprintf(request, room,
                                            "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/%s\r\n"
                                            "Content-Length: %zu\r\n\r\n",
                                            path, host, port, batch > 1 ? "x-ndjson" : "json", length);
    memcpy(request + head, body, length);
    request_length = head + length;
    for (long i = 0; i < batch; i++)
        stamps[i] = request + head + (stamps[i] - body);
    free(body);
}

static void send_request(int fd, double stamped_at)
{
    char digits[STAMP_DIGITS + 1];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)(stamped_at * 1e9));
    for (long i = 0; i < batch; i++)
        memcpy(stamps[i], digits, STAMP_DIGITS);
    for (size_t sent = 0; sent < request_length;) {
        ssize_t taken = send(fd, request + sent, request_length - sent, MSG_NOSIGNAL);
        if (taken < 0)
            die("publisher: send: %s", strerror(errno));
        sent += (size_t)taken;
    }
}

static size_t body_length(const char *head)
{
    const char *field = strcasestr(head, "\r\ncontent-length:");
    if (!field)
        die("publisher: an answer came without Content-Length:\n%s", head);
    return strtoul(field + strlen("\r\ncontent-length:"), NULL, 10);
}

static void wait_for_answer(int fd)
{
    size_t length = 0, whole = 0;
    while (!whole || length < whole) {
        ssize_t got = recv(fd, answer + length, ANSWER_MAX - length, 0);
        if (got < 0 && errno == EAGAIN)
            die("publisher: no answer within %d s", PATIENCE_SECONDS);
        if (got <= 0)
            die("publisher: the connection ended in place of an answer");
        length += (size_t)got;
        answer[length] = 0;
        char *blank_line = whole ? NULL : strstr(answer, "\r\n\r\n");
        if (!blank_line)
            continue;
        if (strncmp(answer, "HTTP/1.1 2", 10))
            die("publisher: a message was refused:\n%s", answer);
        whole = (size_t)(blank_line + 4 - answer) + body_length(answer);
        if (whole >= ANSWER_MAX)
            die("publisher: an answer of %zu bytes", whole);
    }
}

static void wait_for_time(double at)
{
    struct timespec when = {.tv_sec = (time_t)at, .tv_nsec = (long)((at - (double)(time_t)at) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        ;
}

/* When the next one is due, having waited for that: now, where there is no rate. */
static double next_turn(double start, long sent)
{
    if (!rate)
        return now();
    double due = start + (double)sent / rate;
    if (due > now())
        wait_for_time(due);
    return due;
}

static long publish_by_request(int fd, double start)
{
    long sent = 0, requests = 0;
    while (sent < messages && now() - start < seconds) {
        double due = next_turn(start, sent), before = now();
        send_request(fd, due);
        wait_for_answer(fd);
        waits[requests++] = now() - before;
        sent += batch;
    }
    return sent;
}

static void enter_room(int fd)
{
    char upgrade[2048];
    size_t length = upgrade_request(upgrade, sizeof upgrade, host, port, path);
    if (length >= sizeof upgrade || send(fd, upgrade, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("publisher: the handshake could not be sent");
    size_t got = 0;
    /* A byte at a time, so that no frame is taken with the head. */
    while (got < 4 || memcmp(answer + got - 4, "\r\n\r\n", 4)) {
        if (got == ANSWER_MAX || recv(fd, answer + got, 1, 0) != 1)
            die("publisher: the handshake was not answered");
        got++;
    }
    answer[got] = 0;
    if (strncmp(answer, "HTTP/1.1 101", 12))
        die("publisher: the room was refused:\n%s", answer);
}

static long publish_as_member(int fd, double start)
{
    static struct frame_reader frames;
    static struct marker_state state;
    double sent_at[WINDOW_MAX];
    long sent = 0, back = 0;
    while (back < sent || (sent < messages && now() - start < seconds)) {
        while (sent < messages && sent - back < window && now() - start < seconds) {
            double due = next_turn(start, sent);
            sent_at[sent % window] = now();
            send_request(fd, due);
            sent++;
        }
        ssize_t got = recv(fd, answer, ANSWER_MAX, 0);
        if (got < 0 && errno == EAGAIN)
            die("publisher: its own message did not come back within %d s", PATIENCE_SECONDS);
        if (got <= 0)
            die("publisher: the room ended");
        walk_frames(&frames, fd, answer, answer + got);
        double at = now();
        for (unsigned found = count_markers(&state, answer, answer + got, NULL); found; found--, back++)
            waits[back] = at - sent_at[back % window];
    }
    return sent;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_arguments(int count, char **arguments)
{
    static const char usage[] =
        "usage: publisher -n MESSAGES -t SECONDS -m MARKER -z SIZE [-b BATCH] [-r RATE] [-w WINDOW] HOST PORT PATH";
    int option;
    const char *text = "";
    while ((option = getopt(count, arguments, "n:t:m:z:b:r:w:")) != -1) {
        switch (option) {
        case 'n': messages = atol(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'm': text = optarg; break;
        case 'z': size = atol(optarg); break;
        case 'b': batch = atol(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 'w': window = atol(optarg); break;
        default: die("%s", usage);
        }
    }
    if (count - optind != 3 || messages < 1 || batch < 1 || window > WINDOW_MAX || (window && batch > 1))
        die("%s", usage);
    host = arguments[optind];
    port = arguments[optind + 1];
    path = arguments[optind + 2];
    prepare_marker(text);
    if (size < marker_length + STAMP_DIGITS)
        die("publisher: a message of %ld bytes has no room for marker and stamp", size);
}

int main(int count, char **arguments)
{
    read_arguments(count, arguments);
    waits = calloc((size_t)messages, sizeof *waits);
    if (!waits)
        die("publisher: no memory");
    prepare_request();
    int fd = open_connection();
    if (window)
        enter_room(fd);
    clock_t cpu = clock();
    double start = now();
    long sent = window ? publish_as_member(fd, start) : publish_by_request(fd, start);
    double took = now() - start;
    long requests = sent / batch;
    if (!requests)
        die("publisher: nothing could be sent in the time");
    qsort(waits, (size_t)requests, sizeof *waits, by_value);
    printf("{\"sent\":%ld,\"started\":%.6f,\"seconds\":%.6f,\"p50\":%.6f,\"p99\":%.6f,\"cpu\":%.6f}\n", sent, start, took,
           waits[requests / 2], waits[requests * 99 / 100], (double)(clock() - cpu) / CLOCKS_PER_SEC);
    return 0;
}
