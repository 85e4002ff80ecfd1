/* A crowd of SSE subscribers in one process.

   Opens COUNT event streams, at most BURST of them on their way at a time, and from then on only counts: how often
   MARKER occurred in what arrived. It parses nothing else, so that what is measured is the server. A marker may be
   cut anywhere by the reads: each connection keeps how far into the marker it is.

   load_client HOST PORT PATH COUNT MARKER BURST

   Says on stdout, one JSON object a line: "ready" when every stream has its 200 head, and then one answer for each
   command on stdin:
     count                     events and bytes so far, connections the server has closed
     expect EVENTS SECONDS     answers once that many events in all have come, or the time is over;
                               "at" is when the last one was counted
     rst                       drops all connections at once, by RST
     quit                      (or the end of stdin) leaves */

#define _GNU_SOURCE
#include "net.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { MARKER_MAX = 64, BATCH = 1024, READ_SIZE = 256 * 1024, NAP_MICROSECONDS = 500 };

enum state { CONNECTING, HEAD, OPEN, CLOSED };

struct connection {
    int fd;
    uint8_t state;
    uint8_t matched;      /* bytes of the marker seen at the end of the last read */
    uint8_t head_matched; /* the same, of the blank line that ends the head */
    uint8_t status_seen;
    char status[12]; /* "HTTP/1.1 200" */
};

static struct sockaddr_in server;
static char request[2048];
static size_t request_length;
static const char *marker;
static uint8_t marker_length;
static uint8_t marker_next[MARKER_MAX][256];

static struct connection *connections;
static int wanted, started, on_their_way, opened;
static unsigned long long events, bytes_read;
static int closed_by_server;
static double last_event_at;
static int poller;

static struct {
    bool pending;
    unsigned long long events;
    double deadline;
} expectation;

/* The matcher: marker_next[m][c] says how much of the marker is matched when c follows m matched bytes. */
static void prepare_marker(void)
{
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

static unsigned count_markers(struct connection *connection, const char *p, const char *end)
{
    unsigned found = 0, matched = connection->matched;
    while (p < end) {
        if (matched == 0 && !(p = memchr(p, marker[0], (size_t)(end - p))))
            break;
        matched = marker_next[matched][(uint8_t)*p++];
        if (matched == marker_length) {
            found++;
            matched = 0;
        }
    }
    connection->matched = (uint8_t)matched;
    return found;
}

static void start_one(void)
{
    struct connection *connection = &connections[started++];
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(connection->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &interest);
    on_their_way++;
}

static void send_request(struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        die("connect: %s", strerror(error));
    if (send(connection->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length)
        die("a request could not be sent");
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &interest);
    connection->state = HEAD;
}

/* Takes the head's bytes; answers where the body begins, or `end` while the head is not whole. */
static const char *read_head(struct connection *connection, const char *p, const char *end)
{
    static const char blank_line[] = "\r\n\r\n";
    for (; p < end; p++) {
        if (connection->status_seen < sizeof connection->status)
            connection->status[connection->status_seen++] = *p;
        if (*p == blank_line[connection->head_matched])
            connection->head_matched++;
        else
            connection->head_matched = *p == '\r';
        if (connection->head_matched < 4)
            continue;
        if (memcmp(connection->status, "HTTP/1.1 200", sizeof connection->status))
            die("a subscriber was answered: %.12s", connection->status);
        connection->state = OPEN;
        on_their_way--;
        opened++;
        return p + 1;
    }
    return end;
}

static void read_some(struct connection *connection)
{
    static char buffer[READ_SIZE];
    ssize_t length = recv(connection->fd, buffer, sizeof buffer, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        if (connection->state != OPEN)
            die("a connection ended before its head was whole");
        close(connection->fd);
        connection->state = CLOSED;
        closed_by_server++;
        return;
    }
    bytes_read += (unsigned long long)length;
    const char *p = buffer, *end = buffer + length;
    if (connection->state == HEAD)
        p = read_head(connection, p, end);
    unsigned found = count_markers(connection, p, end);
    if (found) {
        events += found;
        last_event_at = now();
    }
}

static void report_expectation(void)
{
    if (!expectation.pending || (events < expectation.events && now() < expectation.deadline))
        return;
    expectation.pending = false;
    printf("{\"reached\":%s,\"events\":%llu,\"closed\":%d,\"at\":%.6f}\n",
           events >= expectation.events ? "true" : "false", events, closed_by_server, last_event_at);
}

static void reset_all(void)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int dropped = 0;
    for (int i = 0; i < wanted; i++)
        if (connections[i].state == OPEN)
            setsockopt(connections[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    double start = now();
    for (int i = 0; i < wanted; i++)
        if (connections[i].state == OPEN) {
            close(connections[i].fd);
            connections[i].state = CLOSED;
            dropped++;
        }
    printf("{\"dropped\":%d,\"at\":%.6f,\"seconds\":%.6f}\n", dropped, start, now() - start);
}

static void obey(const char *command)
{
    unsigned long long target;
    double seconds;
    if (!strcmp(command, "count"))
        printf("{\"events\":%llu,\"bytes\":%llu,\"closed\":%d}\n", events, bytes_read, closed_by_server);
    else if (sscanf(command, "expect %llu %lf", &target, &seconds) == 2) {
        expectation.pending = true;
        expectation.events = target;
        expectation.deadline = now() + seconds;
    } else if (!strcmp(command, "rst"))
        reset_all();
    else if (!strcmp(command, "quit"))
        exit(0);
    else
        die("unknown command: %s", command);
}

static void read_commands(void)
{
    static char line[256];
    static size_t length;
    char c;
    /* A byte at a time, which is enough for a handful of commands; stdin is non-blocking. */
    for (;;) {
        ssize_t got = read(STDIN_FILENO, &c, 1);
        if (got == 0)
            exit(0);
        if (got < 0)
            return;
        if (c == '\n') {
            line[length] = 0;
            length = 0;
            obey(line);
        } else if (length < sizeof line - 1)
            line[length++] = c;
    }
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **arguments)
{
    if (count != 7)
        die("usage: load_client HOST PORT PATH COUNT MARKER BURST");
    server = ipv4_address(arguments[1], arguments[2]);
    request_length = (size_t)snprintf(request, sizeof request,
                                      "GET %s HTTP/1.1\r\nHost: %s:%s\r\nAccept: text/event-stream\r\n\r\n",
                                      arguments[3], arguments[1], arguments[2]);
    wanted = atoi(arguments[4]);
    marker = arguments[5];
    int burst = atoi(arguments[6]);
    connections = calloc((size_t)wanted, sizeof *connections);
    if (!connections || request_length >= sizeof request || burst < 1)
        die("load_client: bad arguments");
    setlinebuf(stdout);
    raise_descriptor_limit();
    prepare_marker();

    poller = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &commands) < 0)
        die("stdin must be a pipe");

    bool ready = false;
    double start = now();
    for (;;) {
        while (started < wanted && on_their_way < burst)
            start_one();
        if (!ready && opened == wanted) {
            ready = true;
            printf("{\"opened\":%d,\"seconds\":%.6f}\n", opened, now() - start);
        }
        struct epoll_event batch[BATCH];
        int happened = epoll_wait(poller, batch, BATCH, expectation.pending ? 50 : -1);
        for (int i = 0; i < happened; i++) {
            struct connection *connection = batch[i].data.ptr;
            if (!connection)
                read_commands();
            else if (connection->state == CONNECTING)
                send_request(connection);
            else if (connection->state != CLOSED)
                read_some(connection);
        }
        report_expectation();
        /* Once all is open, events are fetched in batches: woken for each single one, this process would need more of
           its processor than the fastest server does of its own, and every write would pay for a wake-up. */
        if (ready)
            usleep(NAP_MICROSECONDS);
    }
}
