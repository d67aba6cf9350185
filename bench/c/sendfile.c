/* A small epoll loop that sends a file of zeros to everybody who connects, by sendfile(2), and closes the connection:
 * cc -O2 -o sendfile sendfile.c && ./sendfile PORT BYTES
 *
 * It prints READY once it listens on 127.0.0.1, and then its address. It is what `peer --mode stream --sendfile BYTES`
 * is compared with. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (1 << 20)
#define MOST_CLIENTS 65536

static off_t offsets[MOST_CLIENTS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Sends until the system takes no more; what is finished or broken is closed. */
static void pour(int client, int file, off_t size) {
    while (offsets[client] < size) {
        off_t left = size - offsets[client];
        ssize_t sent = sendfile(client, file, &offsets[client], left < CHUNK ? left : CHUNK);
        if (sent > 0)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        break;
    }
    close(client);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: sendfile PORT BYTES\n");
        return 2;
    }
    off_t size = atoll(arguments[2]);
    signal(SIGPIPE, SIG_IGN);
    FILE *zeros = tmpfile();
    if (!zeros || ftruncate(fileno(zeros), size))
        fail("file");

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        fail("listen");
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wanted))
        fail("epoll");
    printf("READY\nlistening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[256];
        int found = epoll_wait(poller, events, 256, -1);
        for (int event = 0; event < found; event++) {
            int ready = events[event].data.fd;
            if (ready != listener) {
                pour(ready, fileno(zeros), size);
                continue;
            }
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (client < 0 || client >= MOST_CLIENTS)
                continue;
            offsets[client] = 0;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            wanted = (struct epoll_event){.events = EPOLLOUT | EPOLLET, .data.fd = client};
            epoll_ctl(poller, EPOLL_CTL_ADD, client, &wanted);
        }
    }
}
