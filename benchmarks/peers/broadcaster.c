/* The ceiling: what the kernel alone costs.

   One thread, one epoll, no allocation for a message, one write a subscriber of bytes made once. It speaks just enough
   HTTP/1.1 and WebSocket for the benchmarks' own clients, and its events and frames have the fields and the framing of
   Sluiceway's, so that both push the same bytes:

     GET /topics/…/events    an event stream
     POST /topics/…          {"data": …} as the last member, as JSON, or as NDJSON one a line: to all streams; 201 after
                             the last write
     GET /rooms/…            by WebSocket: what a member sends, {"type":"message","data": …}, goes to all members
     POST /rooms/…           the same as for topics, to all members
     GET /stats              {"subscriptions": n, "leaked": 0}

   An NDJSON batch is a write a message and subscriber; with `--join` it is one write a subscriber.

   A subscriber that does not take a whole write at once is dropped: a server that is to be used would have to queue.
   Nothing is remembered, so there is no resume, no topic and no limit. */

#define _GNU_SOURCE
#include "../frames.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { CONNECTIONS_MAX = 1 << 16, BATCH = 1024, REQUEST_FIRST = 4096, REQUEST_MAX = 4 * 1024 * 1024 };

struct audience;

struct connection {
    int fd;
    struct audience *audience; /* NULL before it has subscribed or joined */
    int place;                 /* in the audience */
    char *request;
    size_t length, room;
};

/* Who gets what is published, and how a message is put into bytes for them. */
struct audience {
    struct connection *all[CONNECTIONS_MAX];
    int count;
    size_t (*frame)(char *into, const char *data, size_t length);
};

static size_t event_frame(char *into, const char *data, size_t length);
static size_t room_frame(char *into, const char *data, size_t length);

static struct audience streams = {.frame = event_frame}, members = {.frame = room_frame};
static struct connection *connections[CONNECTIONS_MAX];
static unsigned long long offset;
static bool join;
static int poller;

static void drop(struct connection *connection)
{
    struct audience *audience = connection->audience;
    if (audience) {
        struct connection *last = audience->all[--audience->count];
        audience->all[connection->place] = last;
        last->place = connection->place;
    }
    connections[connection->fd] = NULL;
    close(connection->fd);
    free(connection->request);
    free(connection);
}

static void enter(struct connection *connection, struct audience *audience)
{
    free(connection->request);
    connection->request = NULL;
    connection->length = connection->room = 0;
    connection->audience = audience;
    connection->place = audience->count;
    audience->all[audience->count++] = connection;
}

/* Answers whether the connection still stands. */
static bool write_whole(struct connection *connection, const char *bytes, size_t length)
{
    if (send(connection->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length)
        return true;
    drop(connection);
    return false;
}

static bool answer(struct connection *connection, const char *status, const char *body)
{
    char bytes[1024];
    int length = snprintf(bytes, sizeof bytes,
                          "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status,
                          strlen(body), body);
    return write_whole(connection, bytes, (size_t)length);
}

static size_t chunk(char *into, size_t size, const char *text)
{
    return (size_t)snprintf(into, size, "%zx\r\n%s\r\n", strlen(text), text);
}

static void subscribe(struct connection *connection)
{
    static const char head[] = "HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\n"
                               "cache-control: no-store, no-transform\r\ntransfer-encoding: chunked\r\n\r\n";
    char opening[128], bytes[512];
    snprintf(opening, sizeof opening, "retry: 3000\nid: 1:%llu\n\n", offset);
    memcpy(bytes, head, sizeof head - 1);
    size_t length = sizeof head - 1;
    length += chunk(bytes + length, sizeof bytes - length, opening);
    enter(connection, &streams);
    write_whole(connection, bytes, length);
}

static void enter_room(struct connection *connection)
{
    static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: " WEBSOCKET_ACCEPT "\r\n\r\n";
    if (!strstr(connection->request, "Sec-WebSocket-Key: " WEBSOCKET_KEY "\r\n")) {
        answer(connection, "400 ", "{}");
        return;
    }
    enter(connection, &members);
    write_whole(connection, head, sizeof head - 1);
}

static size_t event_frame(char *into, const char *data, size_t length)
{
    char id[64];
    size_t id_length = (size_t)sprintf(id, "id: 1:%llu\ndata: ", offset);
    size_t used = (size_t)sprintf(into, "%zx\r\n%s", id_length + length + 2, id);
    memcpy(into + used, data, length);
    memcpy(into + used + length, "\n\n\r\n", 4);
    return used + length + 4;
}

static size_t room_frame(char *into, const char *data, size_t length)
{
    char before[160];
    size_t used = (size_t)sprintf(before,
                                  "{\"type\":\"message\",\"id\":\"1:%llu\",\"from\":\"0123456789abcdef\","
                                  "\"time\":\"2026-01-01T00:00:00.000Z\",\"data\":",
                                  offset);
    size_t head = frame_head((unsigned char *)into, OPCODE_TEXT, used + length + 1, false);
    memcpy(into + head, before, used);
    memcpy(into + head + used, data, length);
    into[head + used + length] = '}';
    return head + used + length + 1;
}

static void write_to_all(struct audience *audience, const char *bytes, size_t length)
{
    /* From the last to the first, because one that is dropped leaves its place to the last one. */
    for (int i = audience->count - 1; i >= 0; i--)
        write_whole(audience->all[i], bytes, length);
}

/* Publishes one message, or appends it to what is to leave together; false where it is none. */
static bool publish_line(struct audience *audience, const char *line, size_t length, size_t *waiting)
{
    static char bytes[4 * REQUEST_MAX];
    const char *data = memmem(line, length, "\"data\":", strlen("\"data\":"));
    const char *end = memrchr(line, '}', length);
    if (!data || !end)
        return false;
    data += strlen("\"data\":");
    data += strspn(data, " ");
    offset++;
    size_t used = audience->frame(bytes + *waiting, data, (size_t)(end - data));
    *waiting = join ? *waiting + used : 0;
    if (!join)
        write_to_all(audience, bytes, used);
    else if (!line[length]) {
        write_to_all(audience, bytes, *waiting);
        *waiting = 0;
    }
    return true;
}

static bool publish(struct connection *publisher, struct audience *audience, const char *body)
{
    size_t waiting = 0;
    while (*body) {
        size_t length = strcspn(body, "\n");
        if (!publish_line(audience, body, length, &waiting))
            return answer(publisher, "400 ", "{}");
        body += length;
        body += strspn(body, "\n");
    }
    char body_back[128];
    snprintf(body_back, sizeof body_back, "{\"topic\":\"bench\",\"id\":\"1:%llu\",\"subscribers\":%d}", offset,
             audience->count);
    return answer(publisher, "201 ", body_back);
}

/* Publishes what a member has sent; its unfinished last frame is kept. Answers whether the connection still stands. */
static bool take_frames(struct connection *connection)
{
    size_t at = 0;
    for (;;) {
        unsigned char *frame = (unsigned char *)connection->request + at;
        size_t left = connection->length - at, head = 6, length = left < 2 ? 0 : frame[1] & 0x7f;
        if (length == 126 && left >= 4) {
            head = 8;
            length = (size_t)frame[2] << 8 | frame[3];
        } else if (length == 127 || (left >= 2 && !(frame[1] & 0x80))) {
            drop(connection);
            return false;
        }
        if (left < head || left < head + length)
            break;
        unsigned char *payload = frame + head, *key = payload - 4, opcode = frame[0] & 0xf;
        for (size_t i = 0; i < length; i++)
            payload[i] ^= key[i & 3];
        if (opcode == OPCODE_CLOSE) {
            drop(connection);
            return false;
        }
        if (opcode == OPCODE_TEXT) {
            unsigned char behind = payload[length];
            size_t waiting = 0;
            payload[length] = 0;
            int fd = connection->fd;
            publish_line(&members, (char *)payload, length, &waiting);
            if (connections[fd] != connection)
                return false;
            payload[length] = behind;
        }
        at += head + length;
    }
    memmove(connection->request, connection->request + at, connection->length - at);
    connection->length -= at;
    return true;
}

static bool serve_request(struct connection *connection, const char *body)
{
    const char *request = connection->request;
    if (!strncmp(request, "POST /topics/", 13))
        return publish(connection, &streams, body);
    if (!strncmp(request, "POST /rooms/", 12))
        return publish(connection, &members, body);
    if (!strncmp(request, "GET /stats ", 11)) {
        char stats[64];
        snprintf(stats, sizeof stats, "{\"subscriptions\":%d,\"leaked\":0}", streams.count + members.count);
        return answer(connection, "200 ", stats);
    }
    return answer(connection, "404 ", "{}");
}

static void take_request(struct connection *connection)
{
    char *blank_line = strstr(connection->request, "\r\n\r\n");
    if (!blank_line)
        return;
    char *body = blank_line + 4;
    char *field = strcasestr(connection->request, "\r\ncontent-length:");
    size_t wanted = field && field < blank_line ? strtoul(field + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    if ((size_t)(connection->request + connection->length - body) < wanted)
        return;
    if (!strncmp(connection->request, "GET /topics/", 12))
        subscribe(connection);
    else if (!strncmp(connection->request, "GET /rooms/", 11))
        enter_room(connection);
    else if (serve_request(connection, body))
        connection->length = 0; /* clients here wait for each answer: nothing is pipelined */
}

static bool make_room(struct connection *connection)
{
    if (connection->room > connection->length + 1)
        return true;
    size_t room = connection->room ? 2 * connection->room : REQUEST_FIRST;
    char *request = room <= REQUEST_MAX ? realloc(connection->request, room) : NULL;
    if (!request)
        return false;
    connection->request = request;
    connection->room = room;
    return true;
}

static void read_some(struct connection *connection)
{
    static char ignored[4096];
    bool subscribed = connection->audience == &streams;
    if (!subscribed && !make_room(connection)) {
        drop(connection);
        return;
    }
    char *into = subscribed ? ignored : connection->request + connection->length;
    size_t room = subscribed ? sizeof ignored : connection->room - 1 - connection->length;
    ssize_t got = recv(connection->fd, into, room, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop(connection);
        return;
    }
    if (subscribed)
        return;
    connection->length += (size_t)got;
    connection->request[connection->length] = 0;
    if (connection->audience)
        take_frames(connection);
    else
        take_request(connection);
}

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *connection = fd < CONNECTIONS_MAX ? malloc(sizeof *connection) : NULL;
        if (!connection)
            die("no room for another connection");
        send_without_delay(fd);
        *connection = (struct connection){.fd = fd};
        connections[fd] = connection;
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest);
    }
}

static int listen_on_loopback(void)
{
    struct sockaddr_in address = ipv4_address("127.0.0.1", "0");
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0)
        die("listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("broadcaster: listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments)
{
    join = count > 1 && !strcmp(arguments[1], "--join");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on_loopback();
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        struct epoll_event batch[BATCH];
        int happened = epoll_wait(poller, batch, BATCH, -1);
        for (int i = 0; i < happened; i++) {
            int fd = batch[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (connections[fd]) /* NULL: dropped earlier in this batch */
                read_some(connections[fd]);
        }
    }
}
