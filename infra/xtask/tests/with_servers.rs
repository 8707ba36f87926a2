//! `infra/test` trusts it with the outcome of everything else.

use std::process::Command;

fn xtask(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn a_failing_command_is_a_failure_and_has_servers() {
    let script = "echo [$PUSHRAIL_TEST_KAFKA] {$PUSHRAIL_TEST_KAFKA_SASL} [$PUSHRAIL_TEST_REGISTRY] [$PUSHRAIL_TEST_DATABASE_URL]; exit 3";
    let (code, text) = xtask(&["with-servers", "sh", "-c", script]);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        [
            "[127.0.0.1:",
            "{127.0.0.1:",
            "[http://127.0.0.1:",
            "[postgres://pushrail:"
        ]
        .iter()
        .all(|server| text.contains(server)),
        "{text}"
    );
}

#[test]
fn a_wrong_command_line_says_how_it_goes() {
    for wrong in [&[][..], &["with-servers"], &["frobnicate"]] {
        let (code, text) = xtask(wrong);
        assert!(
            code == Some(1) && text.contains("usage:"),
            "{wrong:?}: {text}"
        );
    }
}
