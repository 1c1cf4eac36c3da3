fn main() {
    for (path, content) in lagan_schemas::generate::files() {
        let path = std::path::Path::new(&path).to_owned();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
