//! The dialects of real small servers (NAS and UPS firmware, ESP boards, wrappers around apcupsd).

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
    for end in ["\r\n", " \n", "\t \r\n"] {
        assert_eq!(ask(answer(text.replace('\n', end))).await.0.unwrap()["ups.load"], "12", "{end:?}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_code_is_a_refusal() {
    let error = ask(Turn::Farewell("ERR\n".to_owned())).await.0.unwrap_err();
    assert!(error.to_string().ends_with("it answered ERR without a code"), "{error}");
}

#[tokio::test]
async fn a_command_is_followed_in_any_case_of_the_words() {
    let (sent, _) = command(vec![answer("ok\n"), answer("ok tracking 7\n"), answer("success\n")]).await;
    sent.unwrap();
}
