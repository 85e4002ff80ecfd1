/* Members of rooms that come and go while some of them speak, in one process that checks what they hear.

   Opens MEMBERS connections, at most BURST of them on their way at a time, spread over ROOMS rooms: PATH itself where
   there is one, else PATH-0, PATH-1 and so on. The first member of each room stays and speaks. The others leave in the
   order in which they came, by a close frame with 1000, and for each that leaves another one comes to its room.

   Each message holds MARKER and, behind it, the time at which it was due, which also tells it from all others. The
   messages of a room have one order: that in which the first member of all to hear each heard it. Whoever hears
   another message than the one that follows in it, from its first message on, is counted as wrong.

   churn_client -n MEMBERS -r ROOMS -m MARKER -b BURST -z SIZE HOST PORT PATH

   Says on stdout, one JSON object a line: "opened" when every member is in its room, and then one answer for each
   command on stdin:
     run SECONDS RATE CHURN    RATE messages a second over all rooms, and CHURN leaves and as many joins, for so long, on
                               schedules that do not slip; at once
     report                    once that is over, and everybody has heard everything or some seconds have passed
     quit                      (or the end of stdin) leaves */

#define _GNU_SOURCE
#include "frames.h"
#include "latencies.h"
#include "marker.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { BATCH = 1024, READ_SIZE = 256 * 1024, LEAVING_MAX = 8192, MESSAGE_MAX = 16384 };
static const double SECONDS_TO_HEAR = 30.0;

enum state { FREE, CONNECTING, HEAD, OPEN, LEAVING };

struct room {
    uint64_t *order; /* the stamps of its messages */
    size_t length, capacity;
};

struct member {
    int fd;
    int room;
    uint8_t state;
    uint8_t head_matched, status_seen;
    char status[12]; /* "HTTP/1.1 101" */
    double came;
    bool has_heard;
    size_t position; /* of the next message it should hear, in its room's order */
    struct marker_state marker;
    struct frame_reader frames;
};

static struct sockaddr_in server;
static const char *host, *port, *path;
static int wanted, rooms_count = 1, burst, slots, started, on_their_way, opened;
static long size = 200;
static struct member *members, *reader;
static struct room *rooms;
static int *free_slots, free_count;
static int *leavers; /* a ring of members in the order in which they came */
static int leavers_first, leavers_count;
static int poller;
static uint64_t read_at;

static struct {
    bool is_on, is_asked;
    double began, ends, rate, churn;
    unsigned long long sent, joins, leaves, skipped;
    unsigned long long heard, wrong, frames, bytes;
    int closed;
    struct latencies latencies, coming;
} run;

static void take_stamp(uint64_t stamp)
{
    struct member *member = reader;
    struct room *room = &rooms[member->room];
    if (stamp < (uint64_t)(run.began * 1e9))
        return; /* left over from the run before */
    run.heard++;
    keep_latency(&run.latencies, stamp, read_at);
    if (!member->has_heard) {
        member->has_heard = true;
        member->position = room->length;
        while (member->position && room->order[member->position - 1] >= stamp)
            if (room->order[--member->position] == stamp)
                break;
    }
    if (member->position < room->length) {
        if (room->order[member->position] != stamp)
            run.wrong++;
        member->position++;
        return;
    }
    if (room->length == room->capacity) {
        room->capacity = room->capacity ? 2 * room->capacity : 64;
        room->order = realloc(room->order, room->capacity * sizeof *room->order);
        if (!room->order)
            die("churn_client: no memory");
    }
    room->order[room->length++] = stamp;
    member->position = room->length;
}

static void start(int slot, int room)
{
    struct member *member = &members[slot];
    *member = (struct member){.state = CONNECTING, .room = room, .came = now()};
    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (member->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(member->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = member};
    epoll_ctl(poller, EPOLL_CTL_ADD, member->fd, &interest);
    on_their_way++;
}

static void send_request(struct member *member)
{
    char target[512], request[2048];
    if (rooms_count > 1)
        snprintf(target, sizeof target, "%s-%d", path, member->room);
    else
        snprintf(target, sizeof target, "%s", path);
    size_t length = upgrade_request(request, sizeof request, host, port, target);
    int error = 0;
    socklen_t error_size = sizeof error;
    getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    if (error)
        die("connect: %s", strerror(error));
    send_without_delay(member->fd);
    if (send(member->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("a handshake could not be sent");
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = member};
    epoll_ctl(poller, EPOLL_CTL_MOD, member->fd, &interest);
    member->state = HEAD;
}

/* Takes the head's bytes; answers where the frames begin, or `end` while the head is not whole. */
static const char *read_head(struct member *member, const char *p, const char *end)
{
    static const char blank_line[] = "\r\n\r\n";
    for (; p < end; p++) {
        if (member->status_seen < sizeof member->status)
            member->status[member->status_seen++] = *p;
        if (*p == blank_line[member->head_matched])
            member->head_matched++;
        else
            member->head_matched = *p == '\r';
        if (member->head_matched < 4)
            continue;
        if (memcmp(member->status, "HTTP/1.1 101", sizeof member->status))
            die("a member was answered: %.12s", member->status);
        member->state = OPEN;
        on_their_way--;
        opened++;
        keep_latency(&run.coming, (uint64_t)(member->came * 1e9), (uint64_t)(now() * 1e9));
        int slot = (int)(member - members);
        if (slot >= rooms_count)
            leavers[(leavers_first + leavers_count++) % slots] = slot;
        return p + 1;
    }
    return end;
}

static void free_member(struct member *member)
{
    close(member->fd);
    member->state = FREE;
    free_slots[free_count++] = (int)(member - members);
}

static void read_some(struct member *member)
{
    static char buffer[READ_SIZE];
    ssize_t length = recv(member->fd, buffer, sizeof buffer, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        if (member->state == HEAD)
            die("a connection ended before its head was whole");
        if (member->state == OPEN) {
            /* It stays in the ring, where it is passed over; its slot is not used again. */
            run.closed++;
            opened--;
            close(member->fd);
            member->state = FREE;
        } else
            free_member(member);
        return;
    }
    run.bytes += (unsigned long long)length;
    const char *p = buffer, *end = buffer + length;
    if (member->state == HEAD)
        p = read_head(member, p, end);
    if (member->state != OPEN)
        return;
    read_at = (uint64_t)(now() * 1e9);
    reader = member;
    count_markers(&member->marker, p, end, take_stamp);
    uint32_t before = member->frames.frames;
    walk_frames(&member->frames, member->fd, p, end);
    run.frames += member->frames.frames - before;
}

static void say(struct member *member, double due)
{
    char frame[MESSAGE_MAX + 256], text[MESSAGE_MAX + 128];
    int head_length = snprintf(text, sizeof text, "{\"type\":\"message\",\"data\":\"%s%016llx", marker,
                               (unsigned long long)(due * 1e9));
    size_t filling = (size_t)(size - marker_length - STAMP_DIGITS);
    memset(text + head_length, 'x', filling);
    strcpy(text + head_length + filling, "\"}");
    size_t length = strlen(text), head = frame_head((unsigned char *)frame, OPCODE_TEXT, length, true);
    memcpy(frame + head, text, length);
    if (send(member->fd, frame, head + length, MSG_NOSIGNAL) != (ssize_t)(head + length))
        die("a message could not be sent: the server reads nothing");
    run.sent++;
}

static void replace_oldest(void)
{
    static const unsigned char leave[] = {0x80 | OPCODE_CLOSE, 0x80 | 2, 0, 0, 0, 0, 1000 >> 8, 1000 & 0xff};
    while (leavers_count) {
        struct member *member = &members[leavers[leavers_first]];
        leavers_first = (leavers_first + 1) % slots;
        leavers_count--;
        if (member->state != OPEN)
            continue;
        if (send(member->fd, leave, sizeof leave, MSG_NOSIGNAL) == (ssize_t)sizeof leave)
            member->state = LEAVING;
        else
            free_member(member);
        run.leaves++;
        opened--;
        if (free_count) {
            start(free_slots[--free_count], member->room);
            run.joins++;
        } else
            run.skipped++;
        return;
    }
}

static void do_what_is_due(void)
{
    if (!run.is_on)
        return;
    double until = now() < run.ends ? now() : run.ends;
    while (run.began + (double)run.sent / run.rate < until)
        say(&members[run.sent % (unsigned)rooms_count], run.began + (double)run.sent / run.rate);
    while (run.churn > 0 && run.began + (double)run.leaves / run.churn < until) {
        unsigned long long before = run.leaves;
        replace_oldest();
        if (run.leaves == before)
            break;
    }
}

/* Messages that somebody who heard one before has not heard yet. */
static unsigned long long missing(void)
{
    unsigned long long found = 0;
    for (int i = 0; i < slots; i++)
        if (members[i].state == OPEN && members[i].has_heard)
            found += rooms[members[i].room].length - members[i].position;
    return found;
}

static void report(void)
{
    if (!run.is_on || !run.is_asked || now() < run.ends)
        return;
    unsigned long long missed = missing(), said = 0;
    for (int i = 0; i < rooms_count; i++)
        said += rooms[i].length;
    if ((missed || said < run.sent || on_their_way) && now() < run.ends + SECONDS_TO_HEAR)
        return;
    run.is_on = false;
    printf("{\"sent\":%llu,\"heard\":%llu,\"wrong\":%llu,\"missing\":%llu,\"frames\":%llu,\"bytes\":%llu,"
           "\"joins\":%llu,\"leaves\":%llu,\"skipped\":%llu,\"closed\":%d,",
           run.sent, run.heard, run.wrong, missed + run.sent - said, run.frames, run.bytes, run.joins, run.leaves,
           run.skipped, run.closed);
    printf("\"p50\":%.6f,\"p99\":%.6f,\"most\":%.6f,\"join_p50\":%.6f,\"join_p99\":%.6f}\n",
           latency_at(&run.latencies, 0.5), latency_at(&run.latencies, 0.99), longest_latency(&run.latencies),
           latency_at(&run.coming, 0.5), latency_at(&run.coming, 0.99));
}

static void begin(double seconds, double rate, double churn)
{
    memset(&run, 0, sizeof run);
    for (int i = 0; i < rooms_count; i++)
        rooms[i].length = 0;
    /* Who is there hears everything from the first message on. */
    for (int i = 0; i < slots; i++) {
        members[i].has_heard = members[i].state == OPEN;
        members[i].position = 0;
    }
    run.is_on = true;
    run.began = now();
    run.ends = run.began + seconds;
    run.rate = rate;
    run.churn = churn;
    printf("{\"began\":%.6f}\n", run.began);
}

static void obey(const char *command)
{
    double seconds, rate, churn;
    if (sscanf(command, "run %lf %lf %lf", &seconds, &rate, &churn) == 3 && rate > 0)
        begin(seconds, rate, churn);
    else if (!strcmp(command, "report"))
        run.is_asked = true;
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

static void read_arguments(int count, char **arguments)
{
    static const char usage[] =
        "usage: churn_client -n MEMBERS -r ROOMS -m MARKER -b BURST -z SIZE HOST PORT PATH";
    const char *text = "";
    int option;
    while ((option = getopt(count, arguments, "n:r:m:b:z:")) != -1) {
        switch (option) {
        case 'n': wanted = atoi(optarg); break;
        case 'r': rooms_count = atoi(optarg); break;
        case 'm': text = optarg; break;
        case 'b': burst = atoi(optarg); break;
        case 'z': size = atol(optarg); break;
        default: die("%s", usage);
        }
    }
    if (count - optind != 3 || rooms_count < 1 || wanted < rooms_count || burst < 1)
        die("%s", usage);
    host = arguments[optind];
    port = arguments[optind + 1];
    path = arguments[optind + 2];
    prepare_marker(text);
    if (size < marker_length + STAMP_DIGITS || size > MESSAGE_MAX)
        die("churn_client: messages of %ld bytes", size);
    server = ipv4_address(host, port);
    slots = wanted + LEAVING_MAX;
    members = calloc((size_t)slots, sizeof *members);
    rooms = calloc((size_t)rooms_count, sizeof *rooms);
    free_slots = calloc((size_t)slots, sizeof *free_slots);
    leavers = calloc((size_t)slots, sizeof *leavers);
    if (!members || !rooms || !free_slots || !leavers)
        die("churn_client: no memory");
    for (int i = slots - 1; i >= wanted; i--)
        free_slots[free_count++] = i;
}

int main(int count, char **arguments)
{
    read_arguments(count, arguments);
    setlinebuf(stdout);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &commands) < 0)
        die("stdin must be a pipe");

    bool ready = false;
    double began = now();
    for (;;) {
        while (started < wanted && on_their_way < burst) {
            start(started, started % rooms_count);
            started++;
        }
        if (!ready && opened == wanted) {
            ready = true;
            printf("{\"opened\":%d,\"seconds\":%.6f}\n", opened, now() - began);
        }
        struct epoll_event batch[BATCH];
        int happened = epoll_wait(poller, batch, BATCH, run.is_on ? 1 : -1);
        for (int i = 0; i < happened; i++) {
            struct member *member = batch[i].data.ptr;
            if (!member)
                read_commands();
            else if (member->state == CONNECTING)
                send_request(member);
            else if (member->state != FREE)
                read_some(member);
            if (i % 16 == 0)
                do_what_is_due();
        }
        do_what_is_due();
        report();
    }
}
