//! Answers cancel requests: finds the session and appends `cancel-requested` to its log.

use std::time::Duration;

use lagan_bus::request::{Denied, serve};
use lagan_bus::session_log::Writer;
use lagan_schemas::error::{Code, chain};
use lagan_schemas::fact::{CancelRequested, Fact};
use lagan_schemas::request::{Answer, CANCEL, CancelSession, Outcome};
use lagan_schemas::session::Author;
use lagan_schemas::subject::request;

use crate::context::Context;
use crate::error::EngineError;
use crate::outside::Outside;

const WRITER: Writer = Writer { author: Author::Planner, component: "planner" };
const TRIES: usize = 10;

pub(crate) async fn run(context: Context) -> Result<(), EngineError> {
    let subject = request(context.cluster(), CANCEL);
    while !context.stop.is_cancelled() {
        let handler = context.clone();
        let served = serve(&context.bus, &subject, "engine", context.stop.clone(), move |question: CancelSession| {
            let context = handler.clone();
            async move { Ok::<_, Denied>(cancel(&context, question).await) }
        });
        if let Err(error) = served.await {
            tracing::warn!(error = chain(&error), "cancel requests can't be served, trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// Asks the session to end, and answers whether it will.
pub(crate) async fn cancel(outside: &impl Outside, question: CancelSession) -> Answer {
    let answer = |outcome, message: String| Answer { outcome, message };
    for _ in 0..TRIES {
        let found = match outside.find_session(question.session).await {
            Ok(found) => found,
            Err(error) => return answer(Outcome::Unavailable, chain(&error)),
        };
        let Some(mut session) = found else {
            return answer(Outcome::NotFound, format!("there is no session `{}`", question.session));
        };
        let name = session.request.as_ref().map(|r| r.name.clone()).unwrap_or_default();
        if session.phase.is_end() {
            return answer(Outcome::AlreadyEnded, format!("session `{name}` has ended already"));
        }
        if session.cancel.is_some() {
            return answer(Outcome::Accepted, format!("session `{name}` is being cancelled already"));
        }
        let fact = CancelRequested { by: question.by.clone(), reason: question.reason.clone(), code: Code::Cancelled };
        match outside.append(&mut session, WRITER, Fact::CancelRequested(fact)).await {
            Ok(()) => return answer(Outcome::Accepted, format!("session `{name}` is being cancelled")),
            Err(error) if error.is_conflict() => {}
            Err(error) => return answer(Outcome::Unavailable, chain(&error)),
        }
    }
    answer(Outcome::Unavailable, "the session changes too fast, try again".to_owned())
}
