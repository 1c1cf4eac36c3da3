//! Spellings of places.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn s3(endpoint: &str, prefix: &str) -> Place {
    Place::bucket(endpoint, "b", prefix)
}

fn backend(local: serde_json::Value) -> Backend {
    serde_json::from_value(json!({ "storageSecretName": "s", "local": local })).unwrap()
}

#[test]
fn spellings_of_one_bucket_are_one_place() {
    for spellings in [
        &["s3.example.org", "https://S3.Example.org", "http://s3.example.org:80/", "HTTPS://s3.example.org.:443"][..],
        &[
            "",
            "s3.amazonaws.com",
            "https://s3.eu-central-1.amazonaws.com",
            "http://S3.dualstack.us-east-1.amazonaws.com",
        ],
        &[
            "minio.storage:9000",
            "http://minio.storage.svc:9000",
            "https://Minio.storage.svc.cluster.local:9000",
            "minio.storage.svc.cluster.local.:9000/",
        ],
        &[
            "http://minio.storage",
            "minio.storage.svc",
            "minio.storage.svc.example.internal",
            "https://minio.storage.svc.cluster.local:443",
        ],
        &["http://[::1]:9000", "https://[0:0:0:0:0:0:0:1]:9000"],
        &["https://user:password@h", "h"],
    ] {
        for spelling in spellings {
            assert_eq!(s3(spelling, "/x//y/"), s3(spellings[0], "x/./y"), "{spelling}");
            assert_eq!(s3(spelling, "x/y").id(), s3(spellings[0], "x/z/../y").id(), "{spelling}");
        }
    }
}

#[test]
fn other_servers_buckets_and_prefixes_are_other_places() {
    for (a, b) in [
        (s3("h:9000", "x"), s3("h:9001", "x")),
        (s3("h:9000", "x"), s3("h", "x")),
        (s3("h", "x"), s3("h", "xy")),
        (s3("h", "x"), s3("h", "X")),
        (s3("h", ""), Place::bucket("h", "c", "")),
        (s3("minio.svc:9000", ""), s3("minio.example.org", "")),
        (s3("h", ""), Place::directory(Path::new("/h/b"))),
    ] {
        assert!(a != b && a.id() != b.id(), "{a} {b}");
        assert_eq!((a.path_within(&b).is_some(), b.path_within(&a).is_some()), (false, false), "{a} {b}");
    }
}

#[test]
fn services_of_two_namespaces_are_two_places_and_share_a_lease_since_their_name_alone_may_be_either() {
    let (a, b, alone) = (s3("minio.a.svc", "x"), s3("minio.b.svc", "x"), s3("minio", "x"));
    assert!(a != b && a.path_within(&b).is_none() && b.path_within(&a).is_none());
    for other in [&a, &b] {
        assert!(other.path_within(&alone).is_some() && alone.path_within(other).is_some(), "{other}");
        assert_eq!(other.id(), alone.id(), "{other}");
    }
}

#[test]
fn a_directory_is_where_the_worker_sees_it() {
    let local = backend(json!({ "mountPath": "/safe/", "subPath": "/a//b/", "hostPath": { "path": "/srv/./x" } }));
    assert_eq!(Place::of(&local, Volumes::Host).unwrap().to_string(), "/srv/x/a/b");
    assert_eq!(Place::of(&local, Volumes::Mounted).unwrap().to_string(), "/safe/a/b");
    let bare = backend(json!({ "mountPath": "/safe/data/../a/b" }));
    assert_eq!(Place::of(&bare, Volumes::Host), Place::of(&local, Volumes::Mounted));
    assert_eq!(Place::directory(Path::new("/..")).to_string(), "/");
    assert_eq!(Place::of(&Backend::default(), Volumes::Host), None);
}

#[test]
fn a_name_that_url_parsers_refuse_has_one_spelling_too() {
    for name in ["xn---aa", "aa.xn---aa", "xn--a.b", "a_b", "a%b"] {
        let place = s3(&format!("https://{name}.ns.svc"), "p");
        for endpoint in ["http://{}.ns.svc:80/", "HTTPS://{}.NS.svc.cluster.local", "{}.ns.svc.cluster.local.:443"] {
            let other = s3(&endpoint.replace("{}", name), "/p/");
            assert_eq!((&place, place.id()), (&other, other.id()), "{endpoint} {name}");
        }
    }
}

#[test]
fn the_text_of_a_place_names_no_login() {
    assert_eq!(s3("https://user:CANARY@H:8333/", "p/").to_string(), "s3:h:8333/b/p");
    assert_eq!(s3("", "").to_string(), "s3:s3.amazonaws.com/b");
}

/// Writes the same endpoint and prefix in other words.
fn respelled(host: &str, port: Option<u16>, prefix: &[String], choices: u32) -> (String, String) {
    let choose = |bit: u32| choices >> bit & 1 == 1;
    let mut endpoint = String::new();
    if choose(0) {
        endpoint.push_str(if choose(1) { "http://" } else { "https://" });
    }
    let service = match choices >> 2 & 3 {
        0 => "",
        1 => ".svc",
        2 => ".svc.cluster.local",
        _ => ".svc.cluster.local.",
    };
    let host = format!("{host}{service}");
    endpoint.push_str(&if choose(4) { host.to_ascii_uppercase() } else { host });
    match port {
        Some(port) => endpoint.push_str(&format!(":{port}")),
        None if choose(5) => endpoint.push_str(if choose(6) { ":80" } else { ":443" }),
        None => {}
    }
    if choose(7) {
        endpoint.push('/');
    }
    let separator = if choose(8) { "//" } else { "/" };
    let mut text = prefix.join(if choose(9) { "/./" } else { separator });
    if choose(10) {
        text = format!("/{text}/");
    }
    (endpoint, text)
}

proptest! {
    #[test]
    fn any_two_spellings_of_a_place_are_equal(
        name in "[a-z][a-z0-9-]{0,8}[a-z0-9]",
        namespace in "[a-z][a-z0-9-]{0,8}[a-z0-9]",
        port in proptest::option::of(1024u16..),
        prefix in proptest::collection::vec("[A-Za-z0-9_-]{1,6}", 0..4),
        a: u32,
        b: u32,
    ) {
        let host = format!("{name}.{namespace}");
        let (one, other) = (respelled(&host, port, &prefix, a), respelled(&host, port, &prefix, b));
        let (one, other) = (s3(&one.0, &one.1), s3(&other.0, &other.1));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.id(), other.id());
        prop_assert_eq!(one.path_within(&other), Some(&[][..]));
    }

    #[test]
    fn a_place_lies_within_another_exactly_when_its_path_goes_on(
        outer in proptest::collection::vec("[a-c]{1,2}", 0..4),
        inner in proptest::collection::vec("[a-c]{1,2}", 0..4),
    ) {
        for make in [|p: &str| s3("h", p), |p: &str| Place::directory(Path::new(&format!("/{p}")))] {
            let (around, inside) = (make(&outer.join("/")), make(&inner.join("/")));
            prop_assert_eq!(inside.path_within(&around).is_some(), inner.starts_with(&outer));
            let below = make(&[outer.clone(), inner.clone()].concat().join("/"));
            prop_assert_eq!(below.path_within(&around), Some(&inner[..]));
            prop_assert_eq!(inside == around, inner == outer);
        }
    }

    #[test]
    fn no_endpoint_panics(endpoint in ".{0,80}", prefix in ".{0,80}") {
        let _ = s3(&endpoint, &prefix).to_string();
    }
}
