#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const REPOSITORY: &str = "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec:\n  backend: {storageSecretName: s, local: {mountPath: /x}}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {RESTIC_PASSWORD: p}\n";

#[test]
fn a_broken_file_hides_its_own_objects_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), format!("{REPOSITORY}---\n{SECRET}")).unwrap();
    std::fs::write(
        dir.path().join("b.yaml"),
        "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: q}\nspec:\n  backnd: {}\n",
    )
    .unwrap();
    let folder = Folder::new(vec![dir.path().to_owned()]);
    let scan = folder.scan();
    assert_eq!(scan.objects.len(), 1);
    let is_hidden = |file: &str| scan.hidden_by(Some(&dir.path().join(file))).is_some();
    assert!(is_hidden("b.yaml") && !is_hidden("a.yaml") && !is_hidden("c.yaml") && scan.hidden_by(None).is_some());
    let text = scan.problems[0].to_string();
    assert!(text.ends_with("b.yaml:5:3: unknown field `backnd`; did you mean `backend`?"), "{text}");
    assert_eq!(folder.secret("default", "s").unwrap().text("RESTIC_PASSWORD").unwrap(), "p");
    assert!(folder.secret("other", "s").is_none());
}

#[test]
fn an_object_that_may_stand_in_a_broken_file_is_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(vec![dir.path().to_owned()]);
    let key = |name: &str| ObjectKey {
        group: "lagan.dev".to_owned(),
        kind: Kind::Repository,
        namespace: Some("default".to_owned()),
        name: name.to_owned(),
    };
    let (named, other) = (REPOSITORY.replace("{name: r}", "{name: first}"), "name: second\n");
    std::fs::write(dir.path().join("a.yaml"), &named).unwrap();
    std::fs::write(dir.path().join("b.yaml"), other).unwrap();
    assert!(folder.object(&key("first")).unwrap().is_some());
    assert!(folder.object(&key("third")).unwrap().is_none());
    let problem = folder.object(&key("second")).unwrap_err();
    assert!(problem.file().ends_with("b.yaml:1:1"), "{problem}");
    // An object that is found exists, whatever the state of other files.
    std::fs::write(dir.path().join("0.yaml"), "first: [\n").unwrap();
    assert!(folder.object(&key("first")).unwrap().is_some());
}

#[test]
fn a_file_is_created_by_one_of_two_writers() {
    let dir = tempfile::tempdir().unwrap();
    create_file(dir.path(), "a.yaml", "first").unwrap();
    let error = create_file(dir.path(), "a.yaml", "second").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(dir.path().join("a.yaml")).unwrap(), "first");
    write_file(dir.path(), "a.yaml", "third").unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_folder_that_is_not_there_is_a_problem_and_not_an_empty_one() {
    let folder = Folder::new(vec![PathBuf::from("/nonexistent/lagan")]);
    let scan = folder.scan();
    let is_hidden = |file: &str| scan.hidden_by(Some(Path::new(file))).is_some();
    assert!(is_hidden("/nonexistent/lagan/a/b.yaml") && !is_hidden("/nonexistent/laganb.yaml"));
    assert!(scan.hidden_by(None).is_some());
}

#[test]
fn the_first_document_of_an_object_defines_it_even_if_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    write("a.yaml", &REPOSITORY.replace("backend:", "backnd:"));
    write("b.yaml", REPOSITORY);
    let folder = Folder::new(vec![dir.path().to_owned()]);
    let scan = folder.scan();
    assert!(scan.objects.is_empty() && scan.refused.len() == 1, "{scan:?}");
    let (key, refused) = scan.refused.first_key_value().unwrap();
    assert_eq!(key.to_string(), "Repository/default/r");
    assert_eq!(refused.problem, "unknown field `backnd`; did you mean `backend`?");
    assert!(refused.place.ends_with("a.yaml:5:3") && refused.file.ends_with("a.yaml"), "{refused:?}");
    assert!(matches!(&scan.problems[1], FolderProblem::Twice { first, .. } if first.ends_with("a.yaml")));
    let problem = folder.object(key).unwrap_err();
    assert!(problem.file().ends_with("a.yaml:5:3"), "{problem}");
    std::fs::rename(dir.path().join("a.yaml"), dir.path().join("c.yaml")).unwrap();
    let scan = folder.scan();
    assert!(scan.refused.is_empty() && scan.objects[key].file.ends_with("b.yaml"), "{scan:?}");
    assert!(folder.object(key).unwrap().is_some());
}

#[test]
fn a_link_that_leads_nowhere_hides_what_may_be_there() {
    let dir = tempfile::tempdir().unwrap();
    for link in ["a.yaml", "volume", "notes.txt", ".hidden.yaml"] {
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join(link)).unwrap();
    }
    let scan = Folder::new(vec![dir.path().to_owned()]).scan();
    let is_hidden = |file: &str| scan.hidden_by(Some(&dir.path().join(file))).is_some();
    assert!(is_hidden("a.yaml") && is_hidden("volume/b.yaml") && !is_hidden("notes.txt"));
    assert_eq!(scan.problems.len(), 2, "{:?}", scan.problems);
}

#[test]
fn a_folder_that_is_too_deep_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let deep = (0..=DEPTH_LIMIT).fold(dir.path().to_owned(), |path, level| path.join(level.to_string()));
    std::fs::create_dir_all(&deep).unwrap();
    let scan = Folder::new(vec![dir.path().to_owned()]).scan();
    assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
    assert!(scan.hidden_by(Some(&deep.join("a.yaml"))).is_some());
}
