//! Addresses of servers, and what is shown of them.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn addresses(url: &str) -> Result<Vec<String>, String> {
    super::addresses(url).map(|servers| servers.iter().map(shown).collect()).map_err(|error| error.to_string())
}

#[test]
fn an_address_never_shows_credentials() {
    assert_eq!(addresses("nats://me:secret@host:4333").unwrap(), ["nats://host:4333"]);
    assert_eq!(addresses("host:4222").unwrap(), ["nats://host:4222"]);
    for broken in ["nats://me:secret@[broken", "tls://a,nats://me:secret@[broken"] {
        let told = addresses(broken).unwrap_err();
        assert!(told.contains("`[broken`") && !told.contains("secret"), "{told}");
    }
}

#[test]
fn several_servers_are_separated_by_commas_and_a_bad_one_is_named() {
    let found = addresses("nats://me:secret@a:4333, tls://b,[::1]:5000").unwrap();
    assert_eq!(found, ["nats://a:4333", "tls://b:4222", "nats://[::1]:5000"]);
    for (list, told) in [
        ("a,,b", "``, number 2 of the 3 addresses"),
        ("a,", "``, number 2 of the 2 addresses"),
        ("a,http://b", "`http://b`, number 2 of the 2 addresses"),
        ("http://b", "`http://b` is not the address of a NATS server"),
        ("", "`` is not the address of a NATS server"),
        ("nats://", "`nats://` is not the address of a NATS server"),
    ] {
        let error = addresses(list).unwrap_err();
        assert!(error.starts_with(told), "{list}: {error}");
    }
}

#[test]
fn a_domain_is_part_of_every_request() {
    assert_eq!(api_prefix(None).unwrap(), "$JS.API");
    assert_eq!(api_prefix(Some("hub")).unwrap(), "$JS.hub.API");
    for bad in ["", "a.b", "*", ">", "a b"] {
        assert!(api_prefix(Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn versions_are_compared_as_numbers() {
    for (version, enough) in
        [("2.12.0", true), ("2.15.1", true), ("2.9.25", false), ("2.11.9", false), ("3.0.0-beta.1", true), ("", false)]
    {
        assert_eq!(is_new_enough(version), enough, "{version}");
    }
}
