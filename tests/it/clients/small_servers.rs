//! The dialects of real small servers (NAS and UPS firmware, ESP boards, wrappers around apcupsd), and what a server says
//! without being asked.

use super::*;

/// A UPS' variables, as a server sends them that knows no quotes.
const UNQUOTED: &str = "BEGIN LIST VAR ups\nVAR ups battery.charge 100\nVAR ups ups.status OL  CHRG\nVAR ups ups.serial\n\
                        VAR ups ups.model \"Back-UPS 700\"\nEND LIST VAR ups\n";

#[tokio::test]
async fn a_server_that_compares_raw_lines_gets_no_needless_quotes() {
    let upsd = FakeUpsd::start(vec![answer("OK\n"), answer("OK\n"), answer("OK\n"), answer(list(&[]))]).await;
    let credentials = Credentials::new("monuser", "s3cret!$&'()*+,-./:;<>?@[]^_`{|}~\n");
    let login = Some((&credentials, "ups"));
    let mut client = NutClient::connect(&mut upsd.endpoint(), login, LIMIT).await.unwrap();
    client.list_vars("ups", LIMIT).await.unwrap();
    let password = "PASSWORD s3cret!$&'()*+,-./:;<>?@[]^_`{|}~";
    assert_eq!(upsd.heard(), ["USERNAME monuser", password, "LOGIN ups", "LIST VAR ups"]);
}

#[tokio::test]
async fn what_upsd_would_split_or_cut_is_quoted() {
    for (password, sent) in [
        (r#"p"a\ss word"#, r#"PASSWORD "p\"a\\ss word""#),
        // upsd's parser begins a comment at "#", even within quotes, and makes "=" a word of its own.
        ("a#b", r#"PASSWORD "a\#b""#),
        ("a=b", r#"PASSWORD "a=b""#),
        ("", r#"PASSWORD """#),
    ] {
        let upsd = FakeUpsd::start(vec![answer("OK\n"), answer("OK\n"), answer("OK\n")]).await;
        let login = Credentials::new("mon user", password);
        NutClient::connect(&mut upsd.endpoint(), Some((&login, "ups")), LIMIT).await.unwrap();
        assert_eq!(upsd.heard()[..2], [r#"USERNAME "mon user""#, sent]);
    }
}

#[tokio::test]
async fn values_without_quotes_are_taken_and_a_variable_without_a_value_is_none() {
    let variables = ask(answer(UNQUOTED)).await.0.unwrap();
    assert_eq!(variables["battery.charge"], "100");
    assert_eq!(variables["ups.status"], "OL CHRG");
    assert_eq!(variables["ups.model"], "Back-UPS 700");
    assert_eq!(variables.get("ups.serial"), None);
}

#[tokio::test]
async fn another_case_of_keywords_and_names_is_taken() {
    let text = "begin list var UPS\nvar UPS UPS.Status \"OL\"\nEnd List Var Ups\n";
    assert_eq!(ask(answer(text)).await.0.unwrap()["ups.status"], "OL");
    assert_eq!(ask(answer("err data-stale\n")).await.0.unwrap_err().kind(), FailureKind::DataStale);
}

#[tokio::test]
async fn blanks_and_other_line_ends_change_nothing() {
    let text = list(&[("ups.status", "OL"), ("ups.load", "12")]);
    for end in ["\r\n", "\n\r", " \n", "\t \r\n", "\r\n\r\n"] {
        assert_eq!(ask(answer(text.replace('\n', end))).await.0.unwrap()["ups.load"], "12", "{end:?}");
    }
    let twice = vec![answer(format!("{text}\r\n")), answer(text)];
    let upsd = FakeUpsd::start(twice).await;
    let mut client = upsd.client().await;
    client.list_vars("ups", LIMIT).await.unwrap();
    assert_eq!(client.list_vars("ups", LIMIT).await.unwrap()["ups.load"], "12");
}

#[tokio::test]
async fn a_value_that_is_not_escaped_is_the_only_one_that_is_lost() {
    let text = "BEGIN LIST VAR ups\nVAR ups ups.model \"9\" rack\"\nVAR ups ups.mfr \"A\\\"\nVAR ups ups.status \"OL\"\nEND LIST VAR ups\n";
    let variables = ask(answer(text)).await.0.unwrap();
    assert_eq!(variables["ups.status"], "OL");
    assert_eq!(variables.len(), 1);
}

#[tokio::test]
async fn what_would_move_a_cursor_is_not_handed_on() {
    let text = "BEGIN LIST VAR ups\nVAR ups ups.status \"OL \u{1b}[31mX\u{7}\"\nEND LIST VAR ups\n";
    assert_eq!(ask(answer(text)).await.0.unwrap()["ups.status"], "OL \u{fffd}[31mX\u{fffd}");
}

#[tokio::test]
async fn a_greeting_and_a_notice_are_no_answers() {
    let greeting = Turn::Unasked("Network UPS Tools upsd 2.7.4 - http://www.networkupstools.org/\r\n".to_owned());
    let notice = Turn::Unasked("NOTIFY ups OB\r\n".to_owned());
    let turns =
        vec![greeting, answer(list(&[("ups.status", "OL")])), notice, answer(list(&[("ups.status", "OB DISCHRG")]))];
    let upsd = FakeUpsd::start(turns).await;
    let mut client = upsd.client().await;
    assert_eq!(client.list_vars("ups", LIMIT).await.unwrap()["ups.status"], "OL");
    assert_eq!(client.list_vars("ups", LIMIT).await.unwrap()["ups.status"], "OB DISCHRG");
}

#[tokio::test]
async fn a_server_that_chats_without_end_is_cut() {
    for line in ["\n", "NOTIFY ups OB\n"] {
        assert_eq!(ask(answer(line.repeat(100))).await.0.unwrap_err().kind(), FailureKind::Malformed, "{line:?}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_code_is_a_refusal() {
    let error = ask(Turn::Farewell("ERR\n".to_owned())).await.0.unwrap_err();
    assert!(error.to_string().ends_with("it answered ERR without a code"), "{error}");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() {
    let on_mains = list(&[("ups.status", "OL")]);
    for unasked in [on_mains.as_str(), "ERR DATA-STALE\n", "VAR ups ups.status \"OL\"\n", "END LIST", "OK\n"] {
        let twice = answer(format!("{on_mains}{unasked}"));
        let upsd = FakeUpsd::start(vec![twice, answer(list(&[("ups.status", "OB")]))]).await;
        let mut client = upsd.client().await;
        client.list_vars("ups", LIMIT).await.unwrap();
        let error = client.list_vars("ups", LIMIT).await.unwrap_err();
        assert!(error.is_stale_connection(), "{unasked:?}: {error}");
        assert!(client.is_dropped());
        assert_eq!(upsd.heard().len(), 1, "the second question is not sent");
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_is_not_taken_for_the_next_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
    let (client, accepted) = tokio::join!(NutClient::connect(&mut endpoint, None, LIMIT), listener.accept());
    let (mut client, mut upsd) = (client.unwrap(), accepted.unwrap().0);
    let on_mains = list(&[("ups.status", "OL")]);
    let answering = async {
        upsd.read_exact(&mut [0; "LIST VAR ups\n".len()]).await.unwrap();
        upsd.write_all(on_mains.as_bytes()).await.unwrap();
    };
    tokio::join!(client.list_vars("ups", LIMIT), answering).0.unwrap();
    upsd.write_all(on_mains.as_bytes()).await.unwrap();
    let error = client.list_vars("ups", LIMIT).await.unwrap_err();
    assert!(error.is_stale_connection() && client.is_dropped(), "{error}");
}

#[tokio::test]
async fn a_server_that_answers_twice_is_read_on() {
    let twice = list(&[("ups.status", "OL")]).repeat(2);
    let upsd = FakeUpsd::start(vec![answer(twice); 3]).await;
    let watched = Watched::start(&[("u", upsd.port)]);
    watched.until("u", |reading| status(reading) == "OL").await;
    let known = watched.upses.readings()[&UpsName::from("u")].began();
    // Nothing wakes on a quiet poll.
    let polling = async {
        while upsd.heard().len() < 5 {
            tokio::task::yield_now().await;
            let reading = watched.upses.readings()[&UpsName::from("u")].clone();
            assert!(reading.value().is_some() && reading.began() >= known, "{reading:?}");
        }
    };
    tokio::time::timeout(LIMIT, polling).await.unwrap();
}

#[tokio::test]
async fn no_command_is_sent_where_something_unasked_lies_unread() {
    let (sent, heard) = command(vec![answer("OK\nOK\n"), answer("OK\n")]).await;
    let error = sent.unwrap_err();
    assert!(!error.is_in_doubt(), "{error}");
    assert!(!heard.iter().any(|line| line.starts_with("INSTCMD")), "{heard:?}");
}

#[tokio::test]
async fn a_connection_that_closed_before_the_command_leaves_no_doubt() {
    let (sent, _) = command(vec![Turn::Farewell("ERR UNKNOWN-COMMAND\n".to_owned())]).await;
    let error = sent.unwrap_err();
    assert!(!error.is_in_doubt(), "{error}");
}

#[tokio::test]
async fn a_command_is_followed_in_any_case_of_the_words() {
    let (sent, _) = command(vec![answer("ok\n"), answer("ok tracking 7\n"), answer("success\n")]).await;
    sent.unwrap();
}
