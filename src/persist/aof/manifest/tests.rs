//! The manifest as text: what is read, what is refused, what comes back.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Manifest, &'static str> {
    Manifest::parse(text.as_bytes()).map_err(|error| error.reason)
}

#[test]
fn what_was_read_is_written_again() {
    let text = "file a.2.base.rdb seq 2 type b\n\
                file a.1.incr.aof seq 1 type h\n\
                file a.3.incr.aof seq 3 type i startoffset 511\n\
                file a.9.incr.aof seq 9 type i startoffset 0 endoffset 98 \
                replid 0123456789abcdef0123456789abcdef01234567 streamdb 3\n";
    let manifest = parse(text).unwrap();
    assert_eq!(String::from_utf8(manifest.format()).unwrap(), text);
    assert_eq!(manifest.files().count(), 3);
    assert_eq!(manifest.end().unwrap().stream_db, Some(3));
}

#[test]
fn refusals_name_their_reason() {
    let cases = [
        ("", "Found an empty AOF manifest"),
        ("file a seq 1 type i\n\nfile b seq 3 type i\n", INVALID),
        (
            "file a seq 2 type i\nfile b seq 1 type i\n",
            "Found a non-monotonic sequence number",
        ),
        (
            "file a seq 1 type b\nfile b seq 2 type b\n",
            "Found duplicate base file information",
        ),
        ("file a seq 1 type x\n", "Unknown AOF file type"),
        ("filx a seq 1 type b\n", INVALID),
        ("file a type i\n", INVALID),
        ("file a seq 1 type i newkey\n", INVALID),
        ("file a seq 0 type i\n", INVALID),
        ("file \"a seq 1 type i\n", INVALID),
        (
            "file ../a seq 1 type i\n",
            "File can't be a path, just a filename",
        ),
        (
            "file a seq 1 type i",
            "The AOF manifest file contains too long line",
        ),
    ];
    for (text, reason) in cases {
        assert_eq!(parse(text), Err(reason), "{text}");
    }
    let long = format!("file {} seq 1 type i\n", "x".repeat(1100));
    assert_eq!(
        parse(&long),
        Err("The AOF manifest file contains too long line")
    );
}

#[test]
fn an_error_shows_the_line_it_is_about() {
    let error = Manifest::parse(b"# comment\nfile a seq 1 type i\n!!!\n").unwrap_err();
    assert_eq!((error.line, error.text.as_deref()), (3, Some("!!!")));
}

#[test]
fn unknown_keys_comments_and_gaps_are_accepted() {
    let text = "# made by hand\nFILE a SEQ 1 TYPE base newkey newvalue\n\
                file b seq 1 type i\nfile c seq 7 type i\n";
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.incr().len(), 2);
    assert_eq!(manifest.offset_floor(10), None);
}

#[test]
fn names_with_blanks_are_quoted() {
    let name = OsStr::new(" file seq \n\n.aof ");
    let mut manifest = Manifest::default();
    manifest.next_base(name, true);
    manifest.next_incr(name, None);
    let text = String::from_utf8(manifest.format()).unwrap();
    assert_eq!(
        text,
        "file \" file seq \\n\\n.aof .1.base.rdb\" seq 1 type b\n\
         file \" file seq \\n\\n.aof .1.incr.aof\" seq 1 type i\n"
    );
    assert_eq!(parse(&text).unwrap(), manifest);
}

#[test]
fn rewrites_leave_history_newest_first() {
    let name = OsStr::new("a");
    let mut manifest = Manifest::default();
    manifest.next_base(name, true);
    manifest.next_incr(name, Some(0));
    for offset in [10, 20] {
        manifest.next_incr(name, Some(offset));
        manifest.next_base(name, true);
        manifest.mark_incr_as_history(true);
    }
    let kinds: Vec<String> = String::from_utf8(manifest.format())
        .unwrap()
        .lines()
        .map(|line| {
            line.split(' ')
                .skip(1)
                .step_by(4)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "a.3.base.rdb b",
            "a.2.incr.aof h",
            "a.2.base.rdb h",
            "a.1.incr.aof h",
            "a.1.base.rdb h",
            "a.3.incr.aof i",
        ]
    );
    assert_eq!(manifest.take_history().len(), 4);
}

#[test]
fn the_end_is_noted_only_for_a_file_that_knows_its_start() {
    let end = End {
        offset: 200,
        replid: None,
        stream_db: None,
    };
    let mut old = parse("file a seq 1 type i\n").unwrap();
    assert!(!old.set_end(Some(end.clone())));
    let mut new = parse("file a seq 1 type i startoffset 100\n").unwrap();
    assert_eq!(new.offset_floor(54), Some(154));
    assert!(new.set_end(Some(end)));
    assert_eq!(new.offset_floor(54), Some(200));
    assert!(new.set_end(None));
    assert_eq!(new.end(), None);
}

fn file_name() -> impl Strategy<Value = OsString> {
    prop::collection::vec(any::<u8>(), 1..30).prop_map(|mut name| {
        name.retain(|byte| !matches!(byte, b'/' | b'\\' | 0));
        name.push(b'x');
        OsString::from_vec(name)
    })
}

proptest! {
    #[test]
    fn any_manifest_survives_its_file(
        name in file_name(),
        steps in prop::collection::vec((any::<bool>(), any::<Option<u64>>()), 1..12),
        end in prop::option::of((0..i64::MAX as u64, any::<bool>(), prop::option::of(0u32..16))),
    ) {
        let mut manifest = Manifest::default();
        for (base, offset) in steps {
            if base {
                manifest.next_base(&name, offset.is_some());
                manifest.mark_incr_as_history(offset.is_some());
            } else {
                manifest.next_incr(&name, offset.map(|n| n >> 1));
            }
        }
        manifest.set_end(end.map(|(offset, id, stream_db)| {
            End { offset, replid: id.then(|| "0a".repeat(20)), stream_db }
        }));
        let mut read = Manifest::parse(&manifest.format()).unwrap();
        // The numbers go on where they were, unless their last file has left the manifest.
        read.base_seq = manifest.base_seq;
        read.incr_seq = manifest.incr_seq;
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn nearly_valid_input_is_read_or_refused(
        words in prop::collection::vec("(file|seq|type|startoffset|b|i|-?[0-9]{1,25}|\"|x)", 0..9)
    ) {
        let _ = Manifest::parse(format!("{}\n", words.join(" ")).as_bytes());
    }
}
