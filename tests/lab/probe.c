// Tries what a confined service must not be able to do, and some things that it must, and prints one line each: `NAME ok`
// or `NAME ERRNO`. It takes the place of the program that a unit starts, so that the unit itself stays as it is.
// Where an attempt could harm the machine its arguments are wrong: EINVAL or ENOENT says that only they were in the way.
// Ends with 64, after which the unit is not started again.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void report(const char *name, long result) {
    printf("%s %s\n", name, result == -1 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

static void try_write(const char *name, const char *path) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    report(name, file);
    if (file != -1) {
        close(file);
        unlink(path);
    }
}

static void try_read(const char *name, const char *path) {
    int file = open(path, O_RDONLY);
    report(name, file);
    if (file != -1) close(file);
}

static void try_bind(const char *name, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    report(name, bind(udp, (struct sockaddr *)&address, sizeof address));
    close(udp);
}

// In a child: what succeeds here would change this process.
static void try_apart(const char *name, long (*attempt)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        report(name, attempt());
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static long new_user_namespace(void) { return unshare(CLONE_NEWUSER); }
static long new_network_namespace(void) { return unshare(CLONE_NEWNET); }
static long become_root(void) { return setuid(0); }
static long trace_the_parent(void) { return ptrace(PTRACE_SEIZE, getppid(), 0, 0); }
static long write_and_execute(void) {
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}
static long run_a_shell(void) {
    execl("/bin/sh", "sh", "-c", "echo run-a-shell ok", NULL);
    return -1;
}
static long set_the_clock(void) {
    struct timeval wrong = {.tv_sec = 0, .tv_usec = 2000000};
    return syscall(SYS_settimeofday, &wrong, NULL);
}

int main(void) {
    try_write("write-etc", "/etc/probe");
    try_write("write-own-policy", "/etc/pullgate/policy.d/probe.toml");
    try_write("write-usr", "/usr/bin/probe");
    try_write("write-var-lib", "/var/lib/probe");
    try_read("see-root-home", "/root/secret");
    try_read("see-home", "/home/user/secret");
    try_read("see-other-processes", "/proc/1/status");
    try_read("read-kernel-log", "/dev/kmsg");
    try_write("change-kernel", "/proc/sys/net/ipv4/ip_forward");
    report("init-module", syscall(SYS_init_module, "", 0, ""));
    report("finit-module", syscall(SYS_finit_module, 0, "", 0));
    report("mount", mount("none", "/nowhere", "tmpfs", 0, NULL));
    try_apart("ptrace", trace_the_parent);
    try_apart("user-namespace", new_user_namespace);
    try_apart("network-namespace", new_network_namespace);
    report("packet-socket", socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    report("raw-socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    try_apart("write-and-execute", write_and_execute);
    try_apart("run-a-shell", run_a_shell);
    try_apart("become-root", become_root);
    report("set-the-clock", set_the_clock());
    report("set-host-name", syscall(SYS_sethostname, "", -1));
    report("raise-priority", setpriority(PRIO_PROCESS, 0, -5));
    try_read("read-policy", "/etc/pullgate/policy.d/10-registries.toml");
    try_write("write-state", "/var/lib/pullgate/probe");
    try_write("write-runtime", "/run/pullgate/probe");
    try_bind("bind-low-port", 99);
    return 64;
}
