//! Deleting a repository: nothing of it is skipped, and no other object is deleted.

use std::collections::HashSet;

use opendal::{Operator, services};

use crate::repository::store_error::Redactor;
use crate::repository::wipe::{Content, Proof, Wipe};

fn id(number: usize) -> String {
    format!("{number:064x}")
}

async fn storage(paths: impl IntoIterator<Item = String>) -> Operator {
    let operator = Operator::new(services::Memory::default()).unwrap();
    for path in paths {
        operator.write(&path, "12345").await.unwrap();
    }
    operator
}

async fn left(operator: &Operator) -> Vec<String> {
    let entries = operator.list_with("").recursive(true).await.unwrap();
    let files = entries.iter().filter(|entry| entry.metadata().is_file());
    let mut paths: Vec<String> = files.map(|entry| entry.path().to_owned()).collect();
    paths.sort();
    paths
}

fn wipe(operator: &Operator, proof: Proof) -> Wipe {
    Wipe::over(operator.clone(), Redactor::default(), proof)
}

async fn pages(wipe: &mut Wipe) -> Vec<u64> {
    let mut pages = Vec::new();
    loop {
        let page = wipe.delete_page().await.unwrap();
        if page.objects == 0 {
            return pages;
        }
        assert_eq!(page.bytes, 5 * page.objects);
        pages.push(page.objects);
    }
}

fn restic() -> Vec<String> {
    let named = ["index", "keys", "locks", "snapshots"].map(|folder| format!("{folder}/{}", id(7)));
    named.into_iter().chain(["config".to_owned(), format!("data/00/{}", id(7))]).collect()
}

#[tokio::test]
async fn thousands_of_objects_go_page_by_page_and_none_is_skipped() {
    let packs = (0..2500).map(|n| format!("data/{}/{}", &id(n)[..2], id(n)));
    let operator = storage(packs.chain(restic()).collect::<HashSet<_>>()).await;
    let mut wipe = wipe(&operator, Proof::Repository);
    assert_eq!(pages(&mut wipe).await, [1, 1, 1, 1000, 1000, 500, 1, 1]);
    assert_eq!(left(&operator).await, Vec::<String>::new());
    assert_eq!(wipe.delete_page().await.unwrap(), Content::default());
    assert_eq!(wipe.foreign().await.unwrap(), None);
}

#[tokio::test]
async fn only_names_of_the_layout_go_and_all_others_stay_and_are_told() {
    let mut foreign = vec![
        "photos/cat.jpg".to_owned(),
        "readme".to_owned(),
        "config2".to_owned(),
        "config/x".to_owned(),
        format!("data/{}", id(1)),
        format!("data/11/{}", id(1)),
        format!("data/00/{}x", id(1)),
        format!("keys/{}", &id(1)[1..]),
        format!("keys/{}", "g".repeat(64)),
        format!("old/keys/{}", id(1)),
        "below/config".to_owned(),
        format!("below/data/00/{}", id(7)),
        "snapshots/notes.txt".to_owned(),
    ];
    foreign.sort();
    let operator = storage(foreign.iter().cloned().chain(restic())).await;
    let mut wipe = wipe(&operator, Proof::Repository);
    assert_eq!(pages(&mut wipe).await.iter().sum::<u64>(), 6);
    assert_eq!(left(&operator).await, foreign);
    let told = wipe.foreign().await.unwrap().unwrap();
    assert!(
        told.starts_with("13 objects stay") && told.contains("`below/config`") && told.ends_with("and others"),
        "{told}"
    );
}

#[tokio::test]
async fn config_and_keys_go_last_so_that_an_interrupted_wipe_can_go_on() {
    let operator = storage(restic()).await;
    let mut first = wipe(&operator, Proof::Repository);
    for _ in 0..4 {
        first.delete_page().await.unwrap();
    }
    let key = format!("keys/{}", id(7));
    assert_eq!(left(&operator).await, ["config".to_owned(), key.clone()]);
    first.delete_page().await.unwrap();
    assert_eq!(left(&operator).await, std::slice::from_ref(&key));
    // Without `config` only keys that the password opens are proved to be of the repository.
    operator.write(&format!("keys/{}", id(8)), "12345").await.unwrap();
    let mut second = wipe(&operator, Proof::Keys(HashSet::from([key])));
    assert_eq!(pages(&mut second).await, [1]);
    assert_eq!(left(&operator).await, [format!("keys/{}", id(8))]);
}
