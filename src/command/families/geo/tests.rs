//! Places as clients, replicas and subscribers see them.

use crate::command::testing::TestServer;

fn sicily() -> TestServer {
    let mut t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
    t.run("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    t.run("GEOADD g 12.758489 38.788135 edge1 17.241510 38.788135 edge2");
    t
}

#[test]
fn places_are_added_as_scores_and_propagated_so() {
    let mut t = TestServer::new();
    t.expect(&[
        ("GEOADD g 13.361389 38.115556 Palermo", ":1"),
        (
            "GEOADD g NX CH 15.087269 37.502669 Palermo 15.087269 37.502669 Catania",
            ":1",
        ),
        ("GEOADD g XX 1 1 none", ":0"),
        ("ZSCORE g Palermo", "\"3479099956230698\""),
        ("TYPE g", "+zset"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "ZADD g 3479099956230698 Palermo",
            "ZADD g NX CH 3479447370796909 Palermo 3479447370796909 Catania",
        ]
    );
}

#[test]
fn places_are_told_in_each_form() {
    let mut t = sicily();
    t.expect(&[
        ("GEODIST g Palermo Catania", "\"166274.1516\""),
        ("GEODIST g Palermo Catania km", "\"166.2742\""),
        ("GEODIST g Palermo none", "nil"),
        ("GEODIST none a b", "nil"),
        ("GEODIST g Palermo Palermo", "\"0.0000\""),
        ("GEOHASH g Palermo none", "[\"sqc8b49rny0\", nil]"),
        (
            "GEOPOS g Palermo none",
            "[[\"13.361389338970184\", \"38.1155563954963\"], nil-array]",
        ),
        ("GEOPOS none a", "[nil-array]"),
        ("GEOHASH g", "[]"),
    ]);
    t.set_resp3(true);
    t.expect(&[(
        "GEOPOS g Palermo none",
        "[[,13.361389338970184, ,38.1155563954963], _]",
    )]);
}

#[test]
fn circles_and_boxes_are_searched_from_places_and_members() {
    let mut t = sicily();
    t.expect(&[
        (
            "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
            r#"["Catania", "Palermo"]"#,
        ),
        (
            "GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST",
            concat!(
                r#"[["Catania", "56.4413"], ["Palermo", "190.4424"], "#,
                r#"["edge2", "279.7403"], ["edge1", "279.7405"]]"#
            ),
        ),
        (
            "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 0 m",
            r#"["Palermo"]"#,
        ),
        (
            "GEORADIUS g 15 37 200 km WITHHASH WITHCOORD DESC COUNT 1",
            r#"[["Palermo", :3479099956230698, ["13.361389338970184", "38.1155563954963"]]]"#,
        ),
        ("GEORADIUSBYMEMBER_RO g Palermo 0.1 mi", r#"["Palermo"]"#),
        ("GEORADIUS_RO g 15 37 300 km COUNT 1", r#"["Catania"]"#),
        ("GEOSEARCH none FROMMEMBER x BYRADIUS 1 m", "[]"),
        ("GEORADIUSBYMEMBER none x no unit", "[]"),
    ]);
    let any = t.reply("GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 500 km COUNT 2 ANY");
    assert_eq!(any.elements().len(), 2);
}

#[test]
fn results_are_stored_with_hashes_or_distances() {
    let mut t = sicily();
    t.run("SET a v");
    t.effects();
    t.events();
    t.expect(&[
        ("GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km", ":2"),
        ("ZSCORE d Palermo", "\"3479099956230698\""),
        ("GEORADIUS g 15 37 100 km STORE a STOREDIST d", ":1"),
        ("ZRANGE d 0 -1", r#"["Catania"]"#),
        ("GEODIST d Catania none", "nil"),
        ("GET a", "\"v\""),
        ("GEORADIUSBYMEMBER none x 1 m STORE d", ":0"),
        ("EXISTS d", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km",
            "GEORADIUS g 15 37 100 km STORE a STOREDIST d",
            "GEORADIUSBYMEMBER none x 1 m STORE d",
        ]
    );
    assert_eq!(
        t.events(),
        ["0 geosearchstore d", "0 georadiusstore d", "0 del d"]
    );
}

#[test]
fn wrong_requests_are_refused() {
    let mut t = sicily();
    t.run("SET s v");
    t.effects();
    let syntax = "-ERR syntax error";
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    t.expect(&[
        (
            "GEOADD g 200 100.5 x",
            "-ERR invalid longitude,latitude pair 200.000000,100.500000",
        ),
        ("GEOADD g 1 x y", "-ERR value is not a valid float"),
        ("GEOADD g NX XX 1 1 a", syntax),
        ("GEOADD g NX CH CH", syntax),
        ("GEOADD g 1 1 a 2", syntax),
        ("GEOADD s 1 1 a", wrong_type),
        ("GEODIST s a b", wrong_type),
        (
            "GEODIST g a b c",
            "-ERR unsupported unit provided. please use M, KM, FT, MI",
        ),
        ("GEODIST g a b m x", syntax),
        ("GEORADIUS s 1 1 1 m", wrong_type),
        ("GEORADIUS g 1 1 x m", "-ERR need numeric radius"),
        ("GEORADIUS g 1 1 -1 m", "-ERR radius cannot be negative"),
        ("GEORADIUS_RO g 1 1 1 m STORE d", syntax),
        (
            "GEORADIUS g 1 1 1 m STORE d WITHDIST",
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
             WITHCOORD options",
        ),
        (
            "GEORADIUSBYMEMBER g none 1 m",
            "-ERR could not decode requested zset member",
        ),
        ("GEORADIUS g 1 1 1 m COUNT 0", "-ERR COUNT must be > 0"),
        (
            "GEORADIUS g 1 1 1 m ANY",
            "-ERR the ANY argument requires COUNT argument",
        ),
        (
            "geoSEARCH g BYRADIUS 1 m ASC ASC",
            "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geoSEARCH",
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 ASC ASC ASC",
            "-ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH",
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 FROMMEMBER Palermo BYRADIUS 1 m",
            syntax,
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 1 m BYRADIUS 1 m",
            syntax,
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 BYBOX x 1 m",
            "-ERR need numeric width",
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 -1 m",
            "-ERR height or width cannot be negative",
        ),
        ("GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1 m STOREDIST", syntax),
    ]);
    assert_eq!(t.effects(), [""; 0]);
}
