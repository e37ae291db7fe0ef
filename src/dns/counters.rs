//! How often each thing happened. Written by every worker, read by metrics and status.

use crate::net::counter::counters;

counters! {
    queries_udp: "Packets that came over UDP.",
    queries_tcp: "Messages that came over TCP.",
    queries_tls: "Messages that came over TLS.",
    queries_https: "Messages that came over HTTPS.",
    dropped_packets: "Responses and packets too short to answer.",
    outside_clients: "Queries from clients outside server.clients, refused.",
    malformed: "Queries answered FORMERR.",
    not_implemented: "Queries with an opcode other than QUERY, answered NOTIMP.",
    bad_version: "Queries with an unknown EDNS version, answered BADVERS.",
    refused: "Queries of another class, and zone transfers, refused.",
    denied_targets: "Answers withheld because a CNAME or alias target is denied.",
    would_filter: "Answers under audit that hold what would be filtered.",
    answered_local: "Questions answered from static and built-in names.",
    answered_steered: "Questions for names that are reached through the gateway.",
    answered_any: "Questions for ANY answered as RFC 8482 has it.",
    filtered_types: "Questions for record types that are not handed out.",
    filtered_private: "Answers from which private addresses were removed.",
    cache_hits: "Allowed questions answered from the cache.",
    cache_misses: "Allowed questions that had to be resolved.",
    answered_stale: "Answers past their time, given because upstreams fail.",
    failed: "Allowed questions answered SERVFAIL.",
    truncated: "Answers that did not fit and were sent with TC.",
    too_busy: "Questions answered SERVFAIL because too many were being resolved.",
    udp_send_failed: "UDP answers that could not be sent.",
    tcp_connections: "TCP connections taken.",
    tcp_evicted: "TCP connections closed to make room for a new one.",
    tcp_timed_out: "TCP connections closed because the client was too slow.",
    tcp_oversized: "TCP connections closed because a query was longer than any real one.",
    tls_failed: "TLS handshakes that failed or took too long.",
    https_refused: "HTTP requests that were no DNS query.",
    tcp_accept_failed: "TCP connections that could not be taken, for want of descriptors or the like.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_every_counter_once() {
        let counters = Counters::default();
        counters.refused.increment();
        let readings = counters.snapshot();
        let mut names: Vec<_> = readings.iter().map(|reading| reading.name).collect();
        names.dedup();
        assert_eq!(names.len(), readings.len());
        assert_eq!(
            readings.iter().filter(|reading| reading.value == 1).map(|reading| reading.name).collect::<Vec<_>>(),
            ["refused"]
        );
    }
}
