use super::*;
use std::fs;

#[test]
fn a_directory_that_is_lost_once_stays_so() {
    type Loss = (fn(&Path), &'static str);
    let losses: [Loss; 3] = [
        (
            |dir| fs::rename(dir, dir.with_extension("old")).unwrap(),
            "moved or removed",
        ),
        (
            |dir| {
                fs::rename(dir, dir.with_extension("old")).unwrap();
                fs::write(dir, "a file").unwrap();
            },
            "replaced by another one",
        ),
        (
            |dir| {
                fs::rename(
                    dir.parent().unwrap(),
                    dir.parent().unwrap().with_extension("old"),
                )
                .unwrap();
            },
            "moved",
        ),
    ];
    for (lose, what) in losses {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("parent/d");
        let directory = Directory::new(&path);
        assert_eq!(
            directory.now().unwrap_err().kind(),
            io::ErrorKind::NotFound,
            "not there yet is not lost"
        );
        fs::create_dir_all(&path).unwrap();
        let first = directory.now().unwrap();
        assert!(Arc::ptr_eq(&first, &directory.now().unwrap()) && directory.lost().is_none());
        lose(&path);
        let error = directory.now().unwrap_err().to_string();
        assert!(
            error.contains(what) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        let _ = fs::remove_file(&path);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(directory.now().unwrap_err().to_string(), error);
        assert_eq!(directory.lost(), Some(&*error));
    }
}
