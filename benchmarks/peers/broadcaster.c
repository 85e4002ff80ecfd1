/* The ceiling: what the kernel alone costs.

   One thread, one epoll, no allocation for a message, one write a subscriber of bytes made once. It speaks just enough
   HTTP/1.1 for the benchmarks, and its events have the fields and the chunked framing of Sluiceway's, so that both
   push the same bytes:

     GET /topics/…/events    an event stream
     POST /topics/…          {"data": …} as the last member, to all streams; 201 after the last write
     GET /stats              {"subscriptions": n, "leaked": 0}

   A subscriber that does not take a whole event at once is dropped: a server that is to be used would have to queue.
   Nothing is remembered, so there is no resume, no topic and no limit. */

#define _GNU_SOURCE
#include "../net.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { CONNECTIONS_MAX = 1 << 16, BATCH = 1024, REQUEST_MAX = 64 * 1024 };

struct connection {
    int fd;
    int place; /* among the subscribers, or -1 */
    char *request;
    size_t length;
};

static struct connection *connections[CONNECTIONS_MAX];
static struct connection *subscribers[CONNECTIONS_MAX];
static int subscriber_count;
static unsigned long long offset;
static int poller;

static void drop(struct connection *connection)
{
    if (connection->place >= 0) {
        struct connection *last = subscribers[--subscriber_count];
        subscribers[connection->place] = last;
        last->place = connection->place;
    }
    connections[connection->fd] = NULL;
    close(connection->fd);
    free(connection->request);
    free(connection);
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
    free(connection->request);
    connection->request = NULL;
    connection->place = subscriber_count;
    subscribers[subscriber_count++] = connection;
    write_whole(connection, bytes, length);
}

static bool publish(struct connection *publisher, const char *body)
{
    static char event[REQUEST_MAX + 128], bytes[REQUEST_MAX + 256];
    const char *data = strstr(body, "\"data\":");
    const char *end = strrchr(body, '}');
    if (!data || !end)
        return answer(publisher, "400 ", "{}");
    data += strlen("\"data\":");
    data += strspn(data, " ");
    snprintf(event, sizeof event, "id: 1:%llu\ndata: %.*s\n\n", ++offset, (int)(end - data), data);
    size_t length = chunk(bytes, sizeof bytes, event);
    /* From the last to the first, because a subscriber that is dropped leaves its place to the last one. */
    for (int i = subscriber_count - 1; i >= 0; i--)
        write_whole(subscribers[i], bytes, length);
    char body_back[128];
    snprintf(body_back, sizeof body_back, "{\"topic\":\"bench\",\"id\":\"1:%llu\",\"subscribers\":%d}", offset,
             subscriber_count);
    return answer(publisher, "201 ", body_back);
}

static bool serve_request(struct connection *connection, const char *body)
{
    const char *request = connection->request;
    if (!strncmp(request, "POST /topics/", 13))
        return publish(connection, body);
    if (!strncmp(request, "GET /stats ", 11)) {
        char stats[64];
        snprintf(stats, sizeof stats, "{\"subscriptions\":%d,\"leaked\":0}", subscriber_count);
        return answer(connection, "200 ", stats);
    }
    return answer(connection, "404 ", "{}");
}

static void read_some(struct connection *connection)
{
    static char ignored[4096];
    bool subscribed = connection->place >= 0;
    char *into = subscribed ? ignored : connection->request + connection->length;
    size_t room = subscribed ? sizeof ignored : REQUEST_MAX - connection->length;
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
    char *blank_line = strstr(connection->request, "\r\n\r\n");
    if (!blank_line)
        return;
    char *body = blank_line + 4;
    char *field = strcasestr(connection->request, "\r\ncontent-length:");
    size_t wanted = field && field < blank_line ? strtoul(field + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    if (strlen(body) < wanted)
        return;
    if (!strncmp(connection->request, "GET /topics/", 12))
        subscribe(connection);
    else if (serve_request(connection, body))
        connection->length = 0; /* clients here wait for each answer: nothing is pipelined */
}

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *connection = fd < CONNECTIONS_MAX ? malloc(sizeof *connection) : NULL;
        char *request = malloc(REQUEST_MAX + 1);
        if (!connection || !request)
            die("no room for another connection");
        send_without_delay(fd);
        *connection = (struct connection){.fd = fd, .place = -1, .request = request};
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

int main(void)
{
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
