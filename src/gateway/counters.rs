//! How often each thing happened at the gateway.

use crate::net::counter::counters;

counters! {
    connections: "Connections taken.",
    outside_clients: "Connections of clients outside server.clients, closed.",
    connections_evicted: "Connections closed to make room for a new one.",
    accept_failed: "Connections that could not be taken, for want of descriptors or the like.",
    timed_out: "Connections closed because nothing came or went for too long.",
    not_tls: "Connections that did not begin with a ClientHello.",
    no_name: "Connections whose ClientHello names no host.",
    refused: "Connections for names that the policy denies.",
    passed: "Connections passed on as they are.",
    inspected: "Connections whose requests are judged.",
    tls_failed: "Handshakes of inspected connections that failed.",
    untrusted: "Handshakes that failed because the client does not trust the authority.",
    no_certificate: "Inspected connections for which the authority has no certificate.",
    unreachable: "Registries that could not be connected to.",
    requests: "Requests on inspected connections.",
    images_allowed: "Requests that the image policy allows.",
    images_denied: "Requests that the image policy denies.",
    images_would_deny: "Requests that are handed on only because of audit.",
    requests_unknown: "Requests for nothing that a registry has, refused.",
    requests_malformed: "Requests with two readings, or for another host than the connection, refused.",
    mounts_withheld: "Mounts of blobs from repositories that the client may not pull, begun as uploads instead.",
    requests_failed: "Requests that a registry did not answer.",
    badges_asked: "Look-ups of a namespace's badge.",
    badges_failed: "Look-ups that failed.",
    connects: "CONNECT requests.",
    connects_refused: "CONNECT requests that were refused.",
}
