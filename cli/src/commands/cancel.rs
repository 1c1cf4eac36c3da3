//! `lagan cancel`: asks the engine to end a session.

use std::time::Duration;

use lagan_bus::request::{RequestError, request};
use lagan_schemas::request::{Answer, CANCEL, CancelSession, Outcome};
use lagan_schemas::subject;
use serde_json::json;
use uuid::Uuid;

use super::events::session_named;
use crate::args::{CancelArgs, Format, Global};
use crate::client;
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::output::{data, json, narrate, yaml};

const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(args: CancelArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    // Deleting the object would not end the session; it would only hide it.
    let streams = client.streams_for("`cancel` asks the engine, which answers on NATS")?;
    let session = match args.session.parse::<Uuid>() {
        Ok(uid) => uid,
        Err(_) => session_named(&client, &args.session).await?,
    };
    let question = CancelSession { session, by: who(), reason: args.reason };
    let subject = subject::request(&streams.cluster, CANCEL);
    let answer: Answer = request(&streams.bus, &subject, &question, PATIENCE).await.map_err(|error| refused(&error))?;
    match answer.outcome {
        Outcome::Accepted => {}
        Outcome::NotFound => return Err(Problem::new(Exit::NotFound, answer.message)),
        Outcome::AlreadyEnded => return Err(Problem::new(Exit::Failed, answer.message)),
        Outcome::Unavailable => return Err(Problem::new(Exit::Unreachable, answer.message)),
    }
    let document = json!({ "session": session, "outcome": answer.outcome, "message": answer.message });
    match args.output {
        Format::Json => data(&json(&document))?,
        Format::Jsonl => data(&format!("{document}\n"))?,
        Format::Yaml => data(&yaml(&document))?,
        Format::Table | Format::Wide | Format::Name => {}
    }
    narrate(global, &format!("{} {}", global.glyphs().of(Glyph::Succeeded), answer.message));
    Ok(Exit::Ok)
}

fn refused(error: &RequestError) -> Problem {
    let exit = match error {
        RequestError::NoResponders { .. } | RequestError::TimedOut { .. } | RequestError::NotConnected => {
            Exit::Unreachable
        }
        RequestError::Denied(_) | RequestError::Send { .. } | RequestError::Json { .. } => Exit::Failed,
    };
    Problem::from_error(exit, error)
}

/// The login name of the person, for the log. It proves nothing.
fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    user.unwrap_or_else(|| "unknown".to_owned())
}
