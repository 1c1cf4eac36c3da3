//! The time until the ends of scheduled sessions, one of each configuration, are shown by their objects in a cluster.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Scale;
use super::figure::Figure;
use super::rig::{PATIENCE, memory_mib};
use crate::kube_world::KubeWorld;
use crate::synthetic::Generator;
use crate::wait::eventually;

pub(super) async fn measure(scale: Scale) -> Result<Vec<Figure>> {
    let count = scale.of(10_000, 20);
    let world = KubeWorld::new("ends")?;
    world.kubectl(&["create", "namespace", "demo"])?;
    let engine = world.engine(&[])?;
    let generator = Generator::connect(&world.nats.url(), count).await?;
    let began = Instant::now();
    generator.append(0..count).await?;
    let appended = began.elapsed();
    // A list of all objects costs the API server more than the engine does.
    let pause = scale.seconds(3, 1);
    let shown = || {
        std::thread::sleep(pause);
        let phases = ["get", "backupsessions.lagan.dev", "-n", "demo", "-o", "jsonpath={.items[*].status.phase}"];
        let phases = world.kubectl(&phases).ok()?;
        let succeeded = phases.split_whitespace().filter(|phase| *phase == "Succeeded").count();
        (u64::try_from(succeeded).ok()? == count).then_some(())
    };
    eventually("all ends to be shown", PATIENCE, shown)?;
    let took: Duration = began.elapsed();
    Ok(vec![
        Figure::new(format!("{count} ends: all statuses applied"), took.as_secs_f64(), "s")
            .wanted(120.0, 60.0)
            .limit("facts appended", appended.as_secs_f64()),
        Figure::new(format!("{count} ends: engine at most"), memory_mib(&engine, "VmHWM:")?, "MiB"),
    ])
}
