//! Forecasts: whether scheduled backups fit, by the command and on the configurations.

use std::time::Duration;

use anyhow::Result;
use lagan_tests::wait::eventually;
use lagan_tests::world::World;
use serde_json::Value;

use super::SHOP;

/// A forecast is computed at most once a minute.
const FORECAST: Duration = Duration::from_secs(150);

fn overloaded(configuration: &Value) -> Option<&str> {
    let conditions = configuration["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == "ScheduleOverloaded")?["message"].as_str()
}

#[test]
fn backups_that_will_not_fit_are_told_with_the_arithmetic_before_they_fail() -> Result<()> {
    let mut world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    world.stub("mariadb-dump", "sleep 3; exec $REAL \"$@\"")?;
    // Twelve hours away, whatever the time is.
    let slot = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(12);
    let slot = slot.strftime("%-M %-H * * *").to_string();
    let configure = |more: &str| -> Result<()> {
        for name in ["one", "two"] {
            world.configure(name, "local", SHOP, &format!("schedule: \"{slot}\"\n{more}"))?;
        }
        Ok(())
    };
    configure("")?;
    let _up = world.up(&[])?;
    assert!(world.lagan.ok(&["describe", "plan"])?.contains("no scheduled backup has to wait"));
    world.good_backup("one")?;
    world.good_backup("two")?;
    let told = world.lagan.ok(&["describe", "plan"])?;
    assert!(told.contains("AppBinding default/shop: 2 sessions are due from ") && !told.contains("timeOut"), "{told}");
    assert!(world.list("backupconfigurations", &[])?.iter().all(|one| overloaded(one).is_none()));

    configure("timeOut: 5s")?;
    let told = eventually("a condition with the arithmetic", FORECAST, || {
        let all = world.list("backupconfigurations", &[]).ok()?;
        all.iter().find_map(overloaded).map(str::to_owned)
    })?;
    assert!(told.starts_with("AppBinding default/shop: 2 sessions are due at the worst time, "), "{told}");
    assert!(told.contains("at most 1 at a time") && told.contains("`timeOut` ends "), "{told}");
    let things = world.lagan.json(&["describe", "plan", "-o", "json"])?;
    let unfit: Vec<&Value> =
        things["items"].as_array().into_iter().flatten().filter(|one| one["fits"] == false).collect();
    assert!(
        unfit.len() == 1 && unfit[0]["kind"] == "AppBinding" && unfit[0]["forecast"]["sessions"] == 2,
        "{things:#}"
    );
    assert!(world.lagan.ok(&["describe", "plan", "two"])?.contains("Forecast\n"));

    configure("timeOut: 1h")?;
    eventually("the condition to go", FORECAST, || {
        let all = world.list("backupconfigurations", &[]).ok()?;
        all.iter().all(|one| overloaded(one).is_none()).then_some(())
    })
}
