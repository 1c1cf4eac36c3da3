//! An API server whose answers to writes are lost, late or refusals, and whose lists fail now and then.

use anyhow::Result;
use lagan_tests::http_proxy::{HttpFate, HttpProxy, SeenRequest};
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::ports::ReservedPort;
use lagan_tests::sample::Sample;

use super::{FOREVER, LAGAN, configuration, ready};

const SESSIONS: &str = "backupsessions.lagan.dev";

fn status(code: u16, reason: &str) -> String {
    format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"reason\":\"{reason}\",\"message\":\"told by a test\",\"code\":{code}}}"
    )
}

/// Every third write goes wrong in one of four ways, and every seventeenth request that reads.
fn moody() -> impl FnMut(&SeenRequest) -> HttpFate + Send + 'static {
    let (mut writes, mut reads) = (0_u32, 0_u32);
    move |request| {
        if request.target.contains("watch=") {
            return HttpFate::Relay;
        }
        if request.method == "GET" {
            reads += 1;
            return if reads % 17 == 0 { HttpFate::Answer(500, status(500, "InternalError")) } else { HttpFate::Relay };
        }
        writes += 1;
        match writes % 12 {
            3 => HttpFate::AnswerAfterwards(504, status(504, "Timeout")),
            6 => HttpFate::Answer(429, status(429, "TooManyRequests")),
            9 => HttpFate::LoseAnswer,
            0 => HttpFate::Answer(409, status(409, "Conflict")),
            _ => HttpFate::Relay,
        }
    }
}

#[test]
fn writes_whose_answers_are_lost_late_or_refusals_leave_the_truth_and_nothing_twice() -> Result<()> {
    let mut world = KubeWorld::new("moody")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let port = ReservedPort::reserve()?;
    let _plain = world.plane.plain(&port)?;
    let proxy = HttpProxy::start(port.number())?;
    world.kubeconfig = world.plane.plain_kubeconfig(proxy.port())?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, "retryConfig: {maxRetry: 3}"))?;
    ready(&world, "shop")?;
    proxy.rule(moody());
    for round in 0..4 {
        let name = format!("s-{round}");
        world.apply(&backup_session(LAGAN, &name, "shop"))?;
        let done = world.ended(SESSIONS, &name)?;
        assert_eq!(phase(&done), "Succeeded", "{done:#}");
    }
    assert!(proxy.faults() > 5, "{} faults", proxy.faults());
    assert_eq!(world.restic("local")?.snapshots()?.len(), 4);
    let list = world.kubectl_json(&["get", SESSIONS])?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(4), "no object was made twice");
    world.restic("local")?.check()
}
