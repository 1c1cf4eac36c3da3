//! Deleting all of a repository: nothing is skipped, and nothing goes that is not its own.

use opendal::{Operator, services};

use crate::repository::store_error::Redactor;
use crate::repository::wipe::{Content, Reach, Wipe, WipeError};

async fn storage(paths: impl IntoIterator<Item = String>) -> Operator {
    let operator = Operator::new(services::Memory::default()).unwrap();
    for path in paths {
        operator.write(&path, "12345").await.unwrap();
    }
    operator
}

async fn left(operator: &Operator) -> usize {
    let entries = operator.list_with("").recursive(true).await.unwrap();
    entries.iter().filter(|entry| entry.metadata().is_file()).count()
}

fn wipe(operator: &Operator, reach: Reach) -> Wipe {
    Wipe::over(operator.clone(), Redactor::default(), reach)
}

#[tokio::test]
async fn thousands_of_objects_go_page_by_page_and_none_is_skipped() {
    let packs = (0..2500).map(|n| format!("data/{:02x}/{n:064}", n % 256));
    let operator = storage(packs.chain(["config".to_owned(), "keys/k".to_owned()])).await;
    let mut wipe = wipe(&operator, Reach::WholeBucket);
    assert_eq!(wipe.survey().await.unwrap(), Content { objects: 2502, bytes: 5 * 2502 });
    let mut pages = Vec::new();
    loop {
        let page = wipe.delete_page().await.unwrap();
        if page.objects == 0 {
            break;
        }
        pages.push(page.objects);
    }
    assert_eq!(pages, [1000, 1000, 502]);
    assert_eq!(left(&operator).await, 0);
    // What is empty is empty again.
    assert_eq!(wipe.survey().await.unwrap(), Content::default());
    assert_eq!(wipe.delete_page().await.unwrap(), Content::default());
}

#[tokio::test]
async fn a_whole_bucket_goes_only_if_it_holds_nothing_but_a_repository() {
    let ours = ["config", "data/ab/x", "index/x", "keys/x", "locks/x", "snapshots/x"];
    let operator = storage(ours.map(str::to_owned)).await;
    assert!(wipe(&operator, Reach::WholeBucket).survey().await.is_ok());
    for foreign in ["photos/cat.jpg", "readme", "config/x", "data", "Data/ab/x"] {
        let operator =
            storage(ours.iter().copied().filter(|o| !o.starts_with(foreign)).chain([foreign]).map(str::to_owned)).await;
        let mut wipe = wipe(&operator, Reach::WholeBucket);
        let before = left(&operator).await;
        for refused in [wipe.survey().await, wipe.delete_page().await] {
            assert!(matches!(&refused, Err(WipeError::NotOnlyARepository { path }) if path == foreign), "{refused:?}");
        }
        assert_eq!(left(&operator).await, before, "{foreign}");
    }
}

#[tokio::test]
async fn another_repository_below_the_prefix_is_never_deleted_with_it() {
    let operator = storage(["config", "data/ab/x", "note", "below/config", "below/data/ab/x"].map(str::to_owned)).await;
    let refused = wipe(&operator, Reach::Prefix).survey().await;
    assert!(matches!(&refused, Err(WipeError::AnotherRepository { path }) if path == "below/config"), "{refused:?}");
    // Anything else below the prefix is ours.
    let operator = storage(["config", "data/ab/x", "note", "old/x"].map(str::to_owned)).await;
    let mut wipe = wipe(&operator, Reach::Prefix);
    assert_eq!(wipe.survey().await.unwrap().objects, 4);
    assert_eq!(wipe.delete_page().await.unwrap().objects, 4);
    assert_eq!(left(&operator).await, 0);
}
