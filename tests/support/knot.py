"""Knot DNS with one zone, the root, which holds all there is."""


def configure(folder, zone, listen):
    """Writes its configuration into a folder of its own; returns the command that starts it in the foreground."""
    path = folder / "knot.conf"
    addresses = ", ".join(f'"{address}@53"' for address in listen)
    path.write_text(CONFIGURATION.format(folder=folder, listen=addresses, zone=zone), encoding="utf-8")
    return ["knotd", "-c", str(path)]


CONFIGURATION = """\
server:
    rundir: "{folder}"
    listen: [ {listen} ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{folder}"
zone:
  - domain: .
    file: "{zone}"
    zonefile-sync: -1
    journal-content: none
"""
