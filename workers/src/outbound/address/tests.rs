//! Addresses of every kind, in every spelling, for each use.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn rules(hosts: &[&str]) -> Outbound {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    Outbound { hook_hosts: hosts.clone(), storage_hosts: hosts, ..Outbound::default() }
}

async fn check(purpose: Purpose, host: &str, allowed: &[&str]) -> Result<Checked, AddressError> {
    rules(allowed).check(purpose, host, 80).await
}

const NOWHERE: [(&str, &str); 17] = [
    ("169.254.169.254", "link-local"),
    ("0xa9fea9fe", "link-local"),
    ("2852039166", "link-local"),
    ("0251.0376.0251.0376", "link-local"),
    ("::ffff:a9fe:a9fe", "link-local"),
    ("fe80::1", "link-local"),
    ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("::ffff:168.63.129.16", "metadata"),
    ("192.0.0.192", "metadata"),
    ("0.0.0.0", "no address"),
    ("::", "no address"),
    ("0.1.2.3", "this network"),
    ("224.0.0.1", "multicast"),
    ("255.255.255.255", "broadcast"),
];
const LOOPBACK: [&str; 10] = [
    "127.0.0.1",
    "127.8.9.1",
    "0x7f.1",
    "2130706433",
    "017700000001",
    "localhost",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
];

#[tokio::test]
async fn metadata_and_link_local_addresses_are_refused_to_hooks_and_storages_in_every_spelling() {
    for (host, what) in NOWHERE {
        for purpose in [Purpose::Hook, Purpose::Storage] {
            let error = check(purpose, host, &["other", &format!("{host}:81")]).await.unwrap_err();
            assert!(
                error.is_refusal() && error.to_string().contains(what) && error.to_string().contains(purpose.flag()),
                "{host}: {error}"
            );
            rules(&[]).check_literal(purpose, host, 80).unwrap_err();
            check(purpose, host, &[host]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn loopback_is_refused_to_hooks_only() {
    for host in LOOPBACK {
        let error = check(Purpose::Hook, host, &[]).await.unwrap_err();
        assert!(error.to_string().contains("the worker itself"), "{host}: {error}");
        check(Purpose::Storage, host, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn addresses_of_a_network_are_not_refused() {
    for host in ["10.0.0.1", "192.168.1.1", "100.64.3.4", "203.0.113.5", "fd00::1", "2001:db8::1"] {
        for purpose in [Purpose::Hook, Purpose::Storage] {
            assert_eq!(check(purpose, host, &[]).await.unwrap().addresses.len(), 1, "{host}");
        }
    }
}

#[tokio::test]
async fn a_host_that_is_no_service_reaches_no_private_network_in_any_spelling() {
    for host in [
        "10.96.0.10",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.3.4",
        "0x0a600001",
        "012.0140.0.1",
        "174063617",
        "::ffff:10.96.0.1",
        "64:ff9b::a60:1",
        "fd00::1",
        "[fd12:3456::1]",
    ] {
        let error = check(Purpose::HookOutside, host, &["other"]).await.unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("NAME.NAMESPACE.svc"), "{host}: {error}");
        check(Purpose::HookOutside, host, &[host]).await.unwrap();
    }
    for host in ["203.0.113.5", "2001:db8::1", "100.128.0.1", "172.32.0.1"] {
        check(Purpose::HookOutside, host, &[]).await.unwrap();
    }
    for host in LOOPBACK {
        check(Purpose::HookOutside, host, &[]).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_service_has_the_addresses_of_its_canonical_name_whatever_the_hook_writes() {
    let written = "shop.prod.svc.attacker.example";
    let checked = rules(&[]).check_as(Purpose::Hook, written, "10.96.0.10", 80).await.unwrap();
    assert_eq!(checked.host.to_string(), written);
    assert_eq!(checked.addresses, ["10.96.0.10:80".parse().unwrap()]);
    let error = rules(&[]).check_as(Purpose::Hook, written, "localhost", 80).await.unwrap_err();
    assert!(error.to_string().contains(written) && error.to_string().contains("the worker itself"), "{error}");
    rules(&[written]).check_as(Purpose::Hook, written, "localhost", 80).await.unwrap();
}

#[tokio::test]
async fn a_protected_server_without_an_address_refuses_its_port_to_all_hooks() {
    let mut rules = rules(&["10.9.9.8:4222"]);
    let host = "nats.invalid".to_owned();
    rules.protected = vec![ProtectedServer { name: "the NATS server", host, port: 4222 }];
    for purpose in [Purpose::Hook, Purpose::HookOutside] {
        let error = rules.check(purpose, "203.0.113.5", 4222).await.unwrap_err();
        assert!(matches!(error, AddressError::ProtectedUnknown { .. }) && !error.is_refusal(), "{error}");
        assert!(error.to_string().contains("the NATS server") && error.to_string().contains("nats.invalid"));
        rules.check(purpose, "203.0.113.5", 4223).await.unwrap();
    }
    rules.check(Purpose::Hook, "10.9.9.8", 4222).await.unwrap();
    rules.check(Purpose::Storage, "203.0.113.5", 4222).await.unwrap();
}

#[tokio::test]
async fn servers_of_the_cluster_are_refused_to_hooks_unless_an_exception_names_the_port() {
    let mut rules = rules(&["127.0.0.1", "10.0.0.1", "10.0.0.2:10250"]);
    let protected = |name, host: &str, port| ProtectedServer { name, host: host.to_owned(), port };
    rules.protected =
        vec![protected("the NATS server", "localhost", 4222), protected("the Kubernetes API server", "10.0.0.1", 443)];
    for (host, port, what) in [
        ("127.0.0.1", 4222, Some("the NATS server")),
        ("0x7f.1", 4222, Some("the worker itself")),
        ("10.0.0.1", 443, Some("the Kubernetes API server")),
        ("::ffff:10.0.0.1", 443, Some("the Kubernetes API server")),
        ("10.0.0.1", 6443, Some("the Kubernetes API server")),
        ("10.9.9.9", 10250, Some("the kubelet")),
        ("10.9.9.9", 2379, Some("etcd")),
        ("10.0.0.2", 10250, None),
        ("10.0.0.1", 80, None),
        ("127.0.0.1", 4223, None),
    ] {
        let checked = rules.check(Purpose::Hook, host, port).await;
        match what {
            Some(what) => {
                let error = checked.unwrap_err();
                assert!(error.is_refusal() && error.to_string().contains(what), "{host}:{port} {error}");
            }
            None => drop(checked.unwrap()),
        }
        if host.starts_with("10.") {
            rules.check(Purpose::Storage, host, port).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_host_is_allowed_as_the_object_names_it() {
    for (host, entry, fits) in [
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "127.0.0.1:80", true),
        ("127.0.0.1", "127.0.0.1:8", false),
        ("localhost", "LOCALHOST", true),
        ("localhost", "127.0.0.1", false),
        ("0x7f.1", "127.0.0.1", false),
        ("::1", "[::1]:80", true),
        ("::1", "::1", true),
        ("[::1]", "[::1]", true),
    ] {
        assert_eq!(check(Purpose::Hook, host, &[entry]).await.is_ok(), fits, "{host} {entry}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_a_host_is_an_error_even_if_it_is_allowed() {
    for host in ["", "a b", "user@host", "host/path", "no.such.host.invalid"] {
        assert!(check(Purpose::Hook, host, &[host]).await.is_err(), "{host}");
    }
}
