//! What the program prints for files as they come out of crashes and hands.

use super::*;
use std::fs;

struct Ran {
    code: i32,
    out: String,
}

fn run_with(args: &[&OsStr], answer: &str) -> Ran {
    let mut all = vec![OsString::from("redis-check-aof")];
    all.extend(args.iter().map(|arg| arg.to_os_string()));
    let mut out = Vec::new();
    let mut input = answer.as_bytes();
    let code = run(
        &all,
        &mut Console {
            input: &mut input,
            out: &mut out,
            log_line: &|text| format!("# {text}\n"),
            version: "v=8.0.6",
        },
    );
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
    }
}

fn check(path: &Path) -> Ran {
    run_with(&[path.as_os_str()], "")
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

const SET: &str = "*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$5\r\nhello\r\n";
const MULTI: &str = "*1\r\n$5\r\nmulti\r\n";
const EXEC: &str = "*1\r\n$4\r\nExec\r\n";

#[test]
fn usage_version_and_missing_files() {
    let ran = run_with(&[], "");
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.out,
        "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] \
         <file.manifest|file.aof>\n"
    );
    let ran = run_with(&["--version".as_ref()], "");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "redis-check-aof v=8.0.6\n")
    );
    let ran = run_with(&["/nonexistent/a".as_ref()], "");
    let expected = "Cannot open file /nonexistent/a: No such file or directory\n";
    assert_eq!((ran.code, ran.out.as_str()), (1, expected));
    let bad = ["--truncate-to-timestamp", "12x", "a"].map(OsStr::new);
    assert_eq!(run_with(&bad, "").out, "Invalid timestamp, aborting...\n");
}

#[test]
fn a_sound_file() {
    let files = Files::new();
    let path = files.write("a", format!("#TS:1\r\n{SET}{MULTI}{SET}{EXEC}"));
    let shown = path.display();
    let size = fs::metadata(&path).unwrap().len();
    let ran = check(&path);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        format!(
            "Start checking Old-Style AOF\n\
             AOF analyzed: filename={shown}, size={size}, ok_up_to={size}, ok_up_to_line=21, \
             diff=0\nAOF {shown} is valid\n"
        )
    );
    let path = files.write("empty", "");
    assert!(check(&path).out.ends_with("is empty\n"));
}

#[test]
fn every_way_to_be_wrong_has_its_sentence() {
    let files = Files::new();
    let cases = [
        (
            format!("{SET}!!!"),
            "AOF {} format error\nAOF analyzed: filename={}, size=36, ok_up_to=33, \
             ok_up_to_line=8, diff=3\n",
        ),
        (
            format!("{SET}*3\r\n$3\r\nset\r\n$3\r\nfo"),
            "0x              32: Expected to read 5 bytes, got 2 bytes\n",
        ),
        (
            format!("{SET}*1\r\n#3\r\n"),
            "0x              25: Expected prefix '$', got: '#'\n",
        ),
        (
            format!("{SET}*1x\r\n"),
            "0x              21: Expected \\r\\n, got: 780d\n",
        ),
        (
            format!("{SET}*1\r\n$-3\r\n"),
            "0x              25: Expected to read string of -3 bytes, which is not in the \
             suitable range\n",
        ),
        (
            format!("{SET}*1\r\n$1\r\nxyz"),
            "0x              29: Expected \\r\\n, got: 797a\n",
        ),
        (
            format!("{SET}{MULTI}{SET}"),
            "0x              4a: Reached EOF before reading EXEC for MULTI\n",
        ),
        (
            format!("{SET}{MULTI}{MULTI}"),
            "0x              38: Unexpected MULTI in AOF {}\n",
        ),
        (
            format!("{SET}{EXEC}"),
            "0x              29: Unexpected EXEC in AOF {}\n",
        ),
    ];
    for (content, expected) in cases {
        let path = files.write("a", &content);
        let shown = path.display().to_string();
        let ran = check(&path);
        assert_eq!(ran.code, 1, "{content}");
        assert!(
            ran.out.contains(&expected.replace("{}", &shown)),
            "{content}: {}",
            ran.out
        );
        assert!(ran.out.contains("ok_up_to=33,"), "{content}: {}", ran.out);
        assert!(
            ran.out
                .ends_with("is not valid. Use the --fix option to try fixing it.\n")
        );
    }
}

#[test]
fn a_fix_is_asked_for_and_leaves_a_sound_file() {
    let files = Files::new();
    let whole = format!("{SET}{MULTI}{SET}{EXEC}{SET}");
    for cut in 1..whole.len() {
        let path = files.write("a", &whole[..cut]);
        let args = ["--fix".as_ref(), path.as_os_str()];
        if check(&path).code == 0 {
            continue;
        }
        let refused = run_with(&args, "n\n");
        assert_eq!(refused.code, 1);
        assert!(refused.out.ends_with("Continue? [y/N]: Aborting...\n"));
        assert_eq!(fs::metadata(&path).unwrap().len(), cut as u64);
        let fixed = run_with(&args, "y\n");
        assert_eq!(fixed.code, 0);
        assert!(
            fixed.out.contains("Successfully truncated AOF"),
            "{}",
            fixed.out
        );
        assert_eq!(check(&path).code, 0);
    }
}

#[test]
fn a_manifest_stands_for_its_files() {
    let files = Files::new();
    files.write("a.1.base.aof", SET);
    files.write("a.1.incr.aof", format!("{SET}{SET}"));
    let manifest = "file a.1.base.aof seq 1 type b\nfile a.1.incr.aof seq 1 type i\n";
    let path = files.write("a.manifest", manifest);
    let ran = check(&path);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        "Start checking Multi Part AOF\n\
         Start to check BASE AOF (RESP format).\n\
         AOF analyzed: filename=a.1.base.aof, size=33, ok_up_to=33, ok_up_to_line=8, diff=0\n\
         BASE AOF a.1.base.aof is valid\n\
         Start to check INCR files.\n\
         AOF analyzed: filename=a.1.incr.aof, size=66, ok_up_to=66, ok_up_to_line=22, diff=0\n\
         INCR AOF a.1.incr.aof is valid\n\
         All AOF files and manifest are valid\n"
    );
    files.write("a.1.base.aof", format!("{SET}{MULTI}"));
    let ran = run_with(&["--fix".as_ref(), path.as_os_str()], "y\n");
    assert_eq!(ran.code, 1);
    let expected = "Failed to truncate AOF a.1.base.aof because it is not the last file\n";
    assert!(ran.out.ends_with(expected));

    let path = files.write("a.manifest", format!("{manifest}!!!\n"));
    let ran = check(&path);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .ends_with("# >>> '!!!'\n\n# Invalid AOF manifest file format\n\n")
    );
}

#[test]
fn data_that_mentions_a_manifest_is_none() {
    let files = Files::new();
    let path = files.write("a", SET.replace("$3\r\nfoo", "$4\r\nfile"));
    assert!(
        check(&path)
            .out
            .starts_with("Start checking Old-Style AOF\n")
    );
}

#[test]
fn a_moment_in_time_to_cut_at() {
    let files = Files::new();
    let content = format!("#TS:10\r\n{SET}#TS:11\r\n{SET}#TS:12\r\n#TS:13\r\n{SET}#TS:14\r\n");
    let cut = |timestamp: &str| {
        let path = files.write("a", &content);
        let args = [
            "--truncate-to-timestamp".as_ref(),
            timestamp.as_ref(),
            path.as_os_str(),
        ];
        let ran = run_with(&args, "");
        (ran.code, ran.out, fs::read_to_string(&path).unwrap())
    };
    let (code, out, left) = cut("13");
    assert_eq!((code, left.as_str()), (0, &content[..content.len() - 8]));
    assert!(out.contains("Successfully truncated AOF ") && out.ends_with(" to timestamp 13\n"));
    assert_eq!(cut("10").2, format!("#TS:10\r\n{SET}"));
    let (code, out, left) = cut("14");
    assert_eq!((code, left.as_str()), (0, content.as_str()));
    assert!(out.contains("Truncate nothing in AOF "), "{out}");
    let (code, out, left) = cut("9");
    assert_eq!((code, left.as_str()), (1, content.as_str()));
    assert!(
        out.contains("has nothing before timestamp 9, aborting..."),
        "{out}"
    );

    files.write("b", SET);
    let manifest = files.write("m", "file a seq 1 type i\nfile b seq 2 type i\n");
    files.write("a", &content);
    let args = [
        "--truncate-to-timestamp".as_ref(),
        "12".as_ref(),
        manifest.as_os_str(),
    ];
    let ran = run_with(&args, "");
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("because it is not the last file."),
        "{}",
        ran.out
    );
}

#[test]
fn a_damaged_preamble_is_not_sane() {
    let files = Files::new();
    let path = files.write("a", b"REDIS0011\xff\x00");
    let ran = check(&path);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .ends_with("RDB preamble of AOF file is not sane, aborting.\n"),
        "{}",
        ran.out
    );
}
