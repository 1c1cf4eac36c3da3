//! What planning and reporting want to know of the source beside the published objects: Secrets and namespace labels.
//! A decision runs with what is known so far; what it asked for is found out, and it runs again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use lagan_sources::{Source, SourceError};

type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Secret(String, String),
    Labels(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Yes,
    No,
    /// The source does not answer now.
    Unknown,
}

impl Found {
    pub const fn when(there: bool) -> Self {
        if there { Self::Yes } else { Self::No }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    secrets: BTreeMap<(String, String), Found>,
    labels: BTreeMap<String, Option<Labels>>,
    open: RefCell<Vec<Question>>,
    missing: Cell<bool>,
}

impl Answers {
    /// Before each decision that shares these answers with others.
    pub fn begin(&self) {
        self.missing.set(false);
    }

    /// Whether a Secret is at its source. What was never asked counts as there, and is asked.
    pub fn secret(&self, namespace: &str, name: &str) -> Found {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(found) = self.secrets.get(&key).copied() else {
            self.open.borrow_mut().push(Question::Secret(key.0, key.1));
            return Found::Yes;
        };
        self.missing.set(self.missing.get() || found != Found::Yes);
        found
    }

    /// Labels of a namespace; `None` where namespaces have none.
    pub fn labels(&self, namespace: &str) -> Option<Labels> {
        self.labels.get(namespace).cloned().unwrap_or_else(|| {
            self.open.borrow_mut().push(Question::Labels(namespace.to_owned()));
            None
        })
    }

    /// Finds out what was asked since the last time; false if there was nothing.
    pub async fn find_out(&mut self, source: &Source) -> Result<bool, SourceError> {
        let open = self.open.take();
        for question in &open {
            match question {
                Question::Secret(namespace, name) => {
                    let found = Found::when(source.has_secret(namespace, name).await?);
                    self.secrets.insert((namespace.clone(), name.clone()), found);
                }
                Question::Labels(namespace) => {
                    let labels = source.namespace_labels(namespace).await?;
                    self.labels.insert(namespace.clone(), labels);
                }
            }
        }
        Ok(!open.is_empty())
    }

    /// The same for whoever can live with `Unknown`.
    pub async fn try_to_find_out(&mut self, source: &Source) -> bool {
        let open: Vec<Question> = self.open.borrow().clone();
        match self.find_out(source).await {
            Ok(any) => any,
            Err(error) => {
                tracing::debug!(error = lagan_schemas::error::chain(&error), "source does not answer");
                for question in open {
                    match question {
                        Question::Secret(namespace, name) => {
                            self.secrets.entry((namespace, name)).or_insert(Found::Unknown);
                        }
                        Question::Labels(namespace) => drop(self.labels.entry(namespace).or_insert(None)),
                    }
                }
                true
            }
        }
    }

    /// Whether the decision that was begun last looked for something that is not there, as far as is known.
    pub fn is_anything_missing(&self) -> bool {
        self.missing.get()
    }

    /// What `find_out` does, from values.
    #[cfg(test)]
    pub fn find_out_from(
        &mut self,
        secret: impl Fn(&(String, String)) -> Found,
        labels: Option<&[(&str, &str)]>,
    ) -> bool {
        let open = self.open.take();
        for question in &open {
            match question {
                Question::Secret(namespace, name) => {
                    let key = (namespace.clone(), name.clone());
                    let found = secret(&key);
                    self.secrets.insert(key, found);
                }
                Question::Labels(namespace) => {
                    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
                    self.labels.insert(namespace.clone(), labels.map(|labels| labels.iter().map(pair).collect()));
                }
            }
        }
        !open.is_empty()
    }
}
