use super::*;
use crate::inspect::setup::testing::{Tree, commands, files, request};

const PATH: &str = "/etc/libvirt/qemu/networks/default.xml";
const HEADER: &str = "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n";
const DEFAULT: &str = "<network>
  <name>default</name>
  <uuid>9a05da11-e96b-47f3-8253-a3a482e445f5</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:0a:cd:21'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
";

fn options() -> Options {
    Options { network: "default".to_owned() }
}

fn after(before: &str, request: &Request) -> String {
    let tree = Tree::new(&[(PATH, before)]);
    let plan = tree.apply(|machine| plan(machine, request, &options()));
    files(&plan)[0].1.clone()
}

#[test]
fn dhcp_names_pullgate_and_libvirts_own_server_is_off() {
    let expected = DEFAULT
        .replace("<network>", "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>")
        .replace("  <ip address", "  <dns enable='no'/>\n  <ip address")
        .replace(
            "</network>",
            "  <dnsmasq:options>\n    <dnsmasq:option value='dhcp-option=option:dns-server,172.17.0.1'/>\n  </dnsmasq:options>\n</network>",
        );
    assert_eq!(after(&format!("{HEADER}{DEFAULT}"), &request()), format!("{HEADER}{expected}"));
    let tree = Tree::new(&[(PATH, DEFAULT)]);
    assert_eq!(
        commands(&plan(&tree.machine(), &request(), &options()).unwrap()),
        [&*format!("virsh net-define {PATH}"), "virsh net-destroy default", "virsh net-start default"]
    );
}

#[test]
fn what_is_there_already_is_changed_in_its_place() {
    let own = |dns: &str, options: &str| {
        DEFAULT
            .replace("<network>", "<network xmlns:q='http://libvirt.org/schemas/network/dnsmasq/1.0'>")
            .replace("  <ip address", &format!("  {dns}\n  <ip address"))
            .replace("</network>", &format!("  {options}\n</network>"))
    };
    let hosts = "<host ip='192.168.122.9'><hostname>a</hostname></host></dns>";
    let option = |value: &str| format!("<q:option value='{value}'/>");
    let ours = option("dhcp-option=option:dns-server,172.17.0.1");
    for (dns, options, new_dns, new_options) in [
        (
            format!("<dns forwardPlainNames='no'>{hosts}"),
            format!("<q:options>\n    {}\n  </q:options>", option("dhcp-option=6,8.8.8.8")),
            format!("<dns enable='no' forwardPlainNames='no'>{hosts}"),
            format!("<q:options>\n    {ours}\n  </q:options>"),
        ),
        (
            "<dns enable=\"yes\"/>".to_owned(),
            format!("<q:options>\n    {}\n  </q:options>", option("cname=a,b")),
            "<dns enable=\"no\"/>".to_owned(),
            format!("<q:options>\n    {}\n    {ours}\n  </q:options>", option("cname=a,b")),
        ),
        (
            "<dns enable='no'/>".to_owned(),
            "<q:options/>".to_owned(),
            "<dns enable='no'/>".to_owned(),
            format!("<q:options>\n    {ours}\n  </q:options>"),
        ),
    ] {
        assert_eq!(after(&own(&dns, &options), &request()), own(&new_dns, &new_options));
    }
}

#[test]
fn the_bridges_own_address_is_preferred_and_each_family_gets_its_own() {
    let ipv6 = "  <ip family='ipv6' address='fd18::1' prefix='64'/>\n</network>";
    let both = DEFAULT.replace("</network>", ipv6);
    let listen = ["172.17.0.1:53", "192.168.122.1:53", "[fd18::1]:53"].map(|address| address.parse().unwrap()).to_vec();
    let text = after(&both, &Request { addresses: Vec::new(), listen, authority: None });
    assert!(text.contains("option:dns-server,192.168.122.1'"), "{text}");
    assert!(text.contains("option6:dns-server,[fd18::1]'"), "{text}");
    let given = Request { addresses: vec!["198.18.0.1".parse().unwrap()], ..request() };
    assert!(after(&both, &given).contains("option:dns-server,198.18.0.1'"));
}

#[test]
fn a_network_that_is_not_there_or_hands_nothing_out_is_a_fault_that_says_what_would_do() {
    let hint = |files: &[(&str, &str)], request: &Request| {
        plan(&Tree::new(files).machine(), request, &options()).unwrap_err().hint.unwrap()
    };
    let other = "/etc/libvirt/qemu/networks/other.xml";
    assert!(hint(&[(other, DEFAULT)], &request()).ends_with("there is: other"));
    let bridged = "<network><name>default</name><forward mode='bridge'/><bridge name='br0'/></network>";
    assert!(hint(&[(PATH, bridged)], &request()).contains("pullgate setup redirect"));
    let loopback = Request { addresses: Vec::new(), listen: vec!["127.0.0.1:53".parse().unwrap()], authority: None };
    assert!(hint(&[(PATH, DEFAULT)], &loopback).starts_with("add `192.168.122.1:53`"));
}

#[test]
fn what_is_not_a_network_is_a_fault_with_its_place() {
    for (text, expected) in
        [("<network>\n</net>", ": line 2, column "), ("<domain/>", ": line 1, column 1: this is not a")]
    {
        let fault = plan(&Tree::new(&[(PATH, text)]).machine(), &request(), &options()).unwrap_err();
        assert!(fault.message.contains(expected), "{fault}");
    }
}
