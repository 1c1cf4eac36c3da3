//! Answers of the source that planning and reporting need beside the published objects: Secrets, labels of namespaces,
//! annotations of Services. A decision runs with the answers known so far; what it asks for is looked up, and it runs
//! again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use lagan_sources::{Source, SourceError};

type Pairs = BTreeMap<String, String>;
type Name = (String, String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Secret(Name),
    Labels(String),
    Service(Name),
}

/// Whether something is at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existence {
    Yes,
    No,
    /// The source does not answer now.
    Unknown,
}

impl Existence {
    pub const fn when(there: bool) -> Self {
        if there { Self::Yes } else { Self::No }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    secrets: BTreeMap<Name, Existence>,
    labels: BTreeMap<String, Option<Pairs>>,
    services: BTreeMap<Name, Option<Pairs>>,
    open: RefCell<Vec<Question>>,
    missing: Cell<bool>,
}

impl Answers {
    /// Starts a decision that shares these answers with others.
    pub fn begin(&self) {
        self.missing.set(false);
    }

    /// Says whether a Secret is at its source. One that was never asked for counts as there, and is looked up.
    pub fn secret(&self, namespace: &str, name: &str) -> Existence {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(found) = self.secrets.get(&key).copied() else {
            self.open.borrow_mut().push(Question::Secret(key));
            return Existence::Yes;
        };
        self.missing.set(self.missing.get() || found != Existence::Yes);
        found
    }

    /// Gives the labels of a namespace; `None` where namespaces have none.
    pub fn labels(&self, namespace: &str) -> Option<Pairs> {
        self.labels.get(namespace).cloned().unwrap_or_else(|| {
            self.open.borrow_mut().push(Question::Labels(namespace.to_owned()));
            None
        })
    }

    /// Gives the annotations of a Service; `None` if there is no such Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<Pairs> {
        let key = (namespace.to_owned(), name.to_owned());
        self.services.get(&key).cloned().unwrap_or_else(|| {
            self.open.borrow_mut().push(Question::Service(key));
            None
        })
    }

    /// Looks up what was asked for since the last time; false if that was nothing.
    pub async fn find_out(&mut self, source: &Source) -> Result<bool, SourceError> {
        let open = self.open.take();
        for question in &open {
            match question {
                Question::Secret(key) => {
                    let found = Existence::when(source.has_secret(&key.0, &key.1).await?);
                    self.secrets.insert(key.clone(), found);
                }
                Question::Labels(namespace) => {
                    let labels = source.namespace_labels(namespace).await?;
                    self.labels.insert(namespace.clone(), labels);
                }
                Question::Service(key) => {
                    let annotations = source.service_annotations(&key.0, &key.1).await?;
                    self.services.insert(key.clone(), annotations);
                }
            }
        }
        Ok(!open.is_empty())
    }

    /// Does the same for decisions that can live with `Unknown`.
    pub async fn try_to_find_out(&mut self, source: &Source) -> bool {
        let open: Vec<Question> = self.open.borrow().clone();
        match self.find_out(source).await {
            Ok(any) => any,
            Err(error) => {
                tracing::debug!(error = lagan_schemas::error::chain(&error), "source does not answer");
                for question in open {
                    match question {
                        Question::Secret(key) => drop(self.secrets.entry(key).or_insert(Existence::Unknown)),
                        Question::Labels(namespace) => drop(self.labels.entry(namespace).or_insert(None)),
                        Question::Service(key) => drop(self.services.entry(key).or_insert(None)),
                    }
                }
                true
            }
        }
    }

    /// Marks the decision as one that other answers may change, although nothing announces them.
    pub fn look_again(&self) {
        self.missing.set(true);
    }

    /// Whether the last decision has to be made again: it asked for a Secret that is not there or that the source says
    /// nothing about, or something else may change unseen.
    pub fn is_anything_missing(&self) -> bool {
        self.missing.get()
    }

    /// Does what `find_out` does, from values.
    #[cfg(test)]
    pub fn find_out_from(
        &mut self,
        secret: impl Fn(&Name) -> Existence,
        labels: Option<&[(&str, &str)]>,
        service: impl Fn(&Name) -> Option<Pairs>,
    ) -> bool {
        let open = self.open.take();
        for question in &open {
            match question {
                Question::Secret(key) => drop(self.secrets.insert(key.clone(), secret(key))),
                Question::Labels(namespace) => {
                    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
                    self.labels.insert(namespace.clone(), labels.map(|labels| labels.iter().map(pair).collect()));
                }
                Question::Service(key) => drop(self.services.insert(key.clone(), service(key))),
            }
        }
        !open.is_empty()
    }
}
