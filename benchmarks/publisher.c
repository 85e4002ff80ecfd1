/* A publisher as applications write it: one keep-alive connection, one POST a message, the next one only after the
   answer to the last.

   publisher HOST PORT PATH BODY MESSAGES SECONDS

   Sends MESSAGES requests, or as many as it can within SECONDS, and then says on stdout in one line of JSON how many
   were sent, when it began, how long they took, and the 50th and 99th percentile of the waits, in seconds. */

#define _GNU_SOURCE
#include "net.h"

static char answer[64 * 1024 + 1];

static int open_connection(const char *host, const char *port)
{
    struct sockaddr_in server = ipv4_address(host, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
        die("publisher: connect: %s", strerror(errno));
    send_without_delay(fd);
    return fd;
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
        ssize_t got = recv(fd, answer + length, sizeof answer - 1 - length, 0);
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
        if (whole >= sizeof answer)
            die("publisher: an answer of %zu bytes", whole);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments)
{
    if (count != 7)
        die("usage: publisher HOST PORT PATH BODY MESSAGES SECONDS");
    const char *body = arguments[4];
    long messages = atol(arguments[5]);
    double seconds = atof(arguments[6]);
    char *request;
    int length = asprintf(&request,
                          "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          arguments[3], arguments[1], arguments[2], strlen(body), body);
    double *waits = calloc((size_t)messages, sizeof *waits);
    if (length < 0 || messages < 1 || !waits)
        die("publisher: bad arguments");

    int fd = open_connection(arguments[1], arguments[2]);
    double start = now(), last = start;
    long sent = 0;
    while (sent < messages && last - start < seconds) {
        if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length)
            die("publisher: send: %s", strerror(errno));
        wait_for_answer(fd);
        double answered = now();
        waits[sent++] = answered - last;
        last = answered;
    }
    qsort(waits, (size_t)sent, sizeof *waits, by_value);
    printf("{\"sent\":%ld,\"started\":%.6f,\"seconds\":%.6f,\"p50\":%.6f,\"p99\":%.6f}\n", sent, start, last - start,
           waits[sent / 2], waits[sent * 99 / 100]);
    return 0;
}
