//! Every adapter's folder is in the list, and every entry of the list is what it says.

use pushrail_sinks::{KINDS, adapter};

#[test]
fn no_adapter_is_forgotten_in_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters");
    let mut folders: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, KINDS);
    for kind in KINDS {
        assert_eq!(
            adapter(kind, &Default::default()).unwrap().info().kind,
            *kind
        );
    }
}
