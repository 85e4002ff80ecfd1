/* A crowd of subscribers, or of members of a room, in one process.

   Opens COUNT connections, at most BURST of them on their way at a time, and from then on only counts: how often
   MARKER occurred in what arrived. It parses nothing else, so that what is measured is the server. A marker may be
   cut anywhere by the reads: each connection keeps how far into the marker it is.

   load_client -n COUNT -m MARKER -b BURST [-w] [-l] [-s] HOST PORT PATH

     -w   members by WebSocket in place of event streams; their pings are answered
     -l   the marker is followed by the time at which it was sent: keep how long each event was under way
     -s   stalled: read the head of the answer, and nothing after it

   Says on stdout, one JSON object a line: "opened" when every connection has its head, and then one answer for each
   command on stdin:
     count                     events and bytes so far, connections the server has closed
     expect EVENTS SECONDS     answers once that many events in all have come, or the time is over;
                               "at" is when the last one was counted
     latency                   percentiles of the times under way since it was asked last, in seconds
     again N                   drops the N that have been there longest, and opens as many in their place
     rst                       drops all connections at once, by RST
     quit                      (or the end of stdin) leaves */

#define _GNU_SOURCE
#include "frames.h"
#include "latencies.h"
#include "marker.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { BATCH = 1024, READ_SIZE = 256 * 1024, NAP_MICROSECONDS = 500 };
/* What a client behind a network has, where loopback has 64 KiB: the server's kernel sizes its send buffer by it, and
   would else hide megabytes. */
enum { STALLED_SEGMENT = 1460, STALLED_RECEIVE_BUFFER = 4096 };

enum state { CONNECTING, HEAD, OPEN, CLOSED };

struct connection {
    int fd;
    uint8_t state;
    uint8_t head_matched; /* bytes of the blank line that ends the head, seen at the end of the last read */
    uint8_t status_seen;
    char status[12]; /* "HTTP/1.1 200" */
    struct marker_state marker;
    struct frame_reader frames;
};

static struct sockaddr_in server;
static char request[2048];
static size_t request_length;
static const char *wanted_status = "HTTP/1.1 200";
static bool websocket, stalled;
static void (*stamped)(uint64_t); /* with -l, who takes the stamps */

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

static struct latencies latencies;
static uint64_t read_at;

static void keep_stamp(uint64_t sent_at)
{
    keep_latency(&latencies, sent_at, read_at);
}

static void report_latency(void)
{
    printf("{\"count\":%llu,\"p50\":%.6f,\"p99\":%.6f,\"most\":%.6f}\n", latencies.count,
           latency_at(&latencies, 0.5), latency_at(&latencies, 0.99), longest_latency(&latencies));
    forget_latencies(&latencies);
}

static void set_for_stalling(int fd)
{
    int segment = STALLED_SEGMENT, buffer = STALLED_RECEIVE_BUFFER;
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

static void start(struct connection *connection)
{
    *connection = (struct connection){.state = CONNECTING};
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket: %s", strerror(errno));
    if (stalled)
        set_for_stalling(connection->fd);
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
        if (memcmp(connection->status, wanted_status, sizeof connection->status))
            die("a subscriber was answered: %.12s", connection->status);
        connection->state = OPEN;
        on_their_way--;
        if (stalled) {
            struct epoll_event interest = {.events = EPOLLRDHUP, .data.ptr = connection};
            epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &interest);
        }
        opened++;
        return p + 1;
    }
    return end;
}

static void take_end(struct connection *connection)
{
    close(connection->fd);
    connection->state = CLOSED;
    closed_by_server++;
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
        take_end(connection);
        return;
    }
    bytes_read += (unsigned long long)length;
    const char *p = buffer, *end = buffer + length;
    if (connection->state == HEAD)
        p = read_head(connection, p, end);
    if (stalled)
        return;
    double at = now();
    read_at = (uint64_t)(at * 1e9);
    unsigned found = count_markers(&connection->marker, p, end, stamped);
    if (websocket)
        walk_frames(&connection->frames, connection->fd, p, end);
    if (found) {
        events += found;
        last_event_at = at;
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

static void replace_oldest(int number)
{
    static int oldest;
    int replaced = 0;
    for (int i = 0; i < wanted && replaced < number; i++, oldest = (oldest + 1) % wanted) {
        struct connection *connection = &connections[oldest];
        if (connection->state != OPEN && connection->state != CLOSED)
            continue;
        if (connection->state == OPEN)
            close(connection->fd);
        opened--;
        start(connection);
        replaced++;
    }
    printf("{\"replaced\":%d}\n", replaced);
}

static void obey(const char *command)
{
    unsigned long long target;
    double seconds;
    int number;
    if (!strcmp(command, "count"))
        printf("{\"events\":%llu,\"bytes\":%llu,\"closed\":%d}\n", events, bytes_read, closed_by_server);
    else if (sscanf(command, "expect %llu %lf", &target, &seconds) == 2) {
        expectation.pending = true;
        expectation.events = target;
        expectation.deadline = now() + seconds;
    } else if (!strcmp(command, "latency"))
        report_latency();
    else if (!strcmp(command, "rst"))
        reset_all();
    else if (sscanf(command, "again %d", &number) == 1)
        replace_oldest(number);
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
    static const char usage[] = "usage: load_client -n COUNT -m MARKER -b BURST [-w] [-l] [-s] HOST PORT PATH";
    int burst = 0, option;
    const char *text = "";
    while ((option = getopt(count, arguments, "n:m:b:wls")) != -1) {
        switch (option) {
        case 'n': wanted = atoi(optarg); break;
        case 'm': text = optarg; break;
        case 'b': burst = atoi(optarg); break;
        case 'w': websocket = true; break;
        case 'l': stamped = keep_stamp; break;
        case 's': stalled = true; break;
        default: die("%s", usage);
        }
    }
    if (count - optind != 3 || wanted < 1 || burst < 1)
        die("%s", usage);
    const char *host = arguments[optind], *port = arguments[optind + 1], *path = arguments[optind + 2];
    server = ipv4_address(host, port);
    if (websocket) {
        wanted_status = "HTTP/1.1 101";
        request_length = upgrade_request(request, sizeof request, host, port, path);
    } else
        request_length = (size_t)snprintf(request, sizeof request,
                                          "GET %s HTTP/1.1\r\nHost: %s:%s\r\nAccept: text/event-stream\r\n\r\n",
                                          path, host, port);
    connections = calloc((size_t)wanted, sizeof *connections);
    if (!connections || request_length >= sizeof request)
        die("load_client: bad arguments");
    setlinebuf(stdout);
    raise_descriptor_limit();
    prepare_marker(text);

    poller = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &commands) < 0)
        die("stdin must be a pipe");

    bool ready = false;
    double began = now();
    for (;;) {
        while (started < wanted && on_their_way < burst)
            start(&connections[started++]);
        if (!ready && opened == wanted) {
            ready = true;
            printf("{\"opened\":%d,\"seconds\":%.6f}\n", opened, now() - began);
        }
        struct epoll_event batch[BATCH];
        int happened = epoll_wait(poller, batch, BATCH, expectation.pending ? 50 : -1);
        for (int i = 0; i < happened; i++) {
            struct connection *connection = batch[i].data.ptr;
            if (!connection)
                read_commands();
            else if (connection->state == CONNECTING)
                send_request(connection);
            else if (stalled && connection->state == OPEN)
                take_end(connection); /* nothing else is asked for */
            else if (connection->state != CLOSED)
                read_some(connection);
        }
        report_expectation();
        /* Once all is open, events are fetched in batches: woken for each single one, this process would need more of
           its processor than the fastest server does of its own, and every write would pay for a wake-up. Not where
           the time that they were under way is the question. */
        if (ready && !stamped)
            usleep(NAP_MICROSECONDS);
    }
}
