use std::net::SocketAddr;

use super::*;
use crate::{ConfigFileArgs, FileArgs, Hidden, KafkaArgs, RegistryArgs};

#[derive(clap::Parser, Debug)]
struct Cli {
    #[command(subcommand)]
    command: Called,
}

#[derive(clap::Subcommand, Debug)]
enum Called {
    Ingest(Ingest),
    Router(Router),
    #[command(subcommand)]
    Destination(DestinationCommand),
}

#[derive(clap::Args, Debug)]
struct Ingest {
    /// Where to listen.
    #[arg(long, env = "PUSHRAIL_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[arg(long)]
    direct: bool,
    #[arg(long, env = "PUSHRAIL_KEY", hide_env_values = true)]
    key: Option<Hidden>,
    #[arg(long, hide_env_values = true, value_parser = long_enough)]
    token: Option<Hidden>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    file: FileArgs,
}

fn long_enough(text: &str) -> Result<Hidden, String> {
    match text.len() {
        0..32 => Err("must have 32 characters".to_owned()),
        _ => Ok(Hidden::new(text)),
    }
}

#[derive(clap::Args, Debug)]
struct Router {
    #[arg(long)]
    must: String,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(clap::Subcommand, Debug)]
enum DestinationCommand {
    Add {
        /// JSON.
        #[arg(long)]
        config: Option<String>,
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        file: ConfigFileArgs,
    },
}

struct Given {
    dir: tempfile::TempDir,
    surroundings: Surroundings,
}

impl Given {
    fn new(command: &str) -> Self {
        let args = std::iter::once("pushrail").chain(command.split_ascii_whitespace());
        Given {
            dir: tempfile::tempdir().unwrap(),
            surroundings: Surroundings {
                args: args.map(OsString::from).collect(),
                env: BTreeMap::new(),
            },
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.surroundings.env.insert(name.into(), value.into());
        self
    }

    fn file(self, toml: &str) -> Self {
        let path = self.dir.path().join("pushrail.toml");
        std::fs::write(&path, toml).unwrap();
        let path = path.to_str().unwrap().to_owned();
        self.env("PUSHRAIL_CONFIG", &path)
    }

    fn load(&self) -> Result<Loaded<Cli>, Error> {
        load(&self.surroundings)
    }

    fn ingest(&self) -> (Ingest, Vec<Setting>) {
        let loaded = self.load().unwrap_or_else(|e| panic!("{e}"));
        match loaded.settings.command {
            Called::Ingest(ingest) => (ingest, loaded.effective),
            other => panic!("{other:?}"),
        }
    }

    fn error(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn source_of(effective: &[Setting], name: &str) -> Source {
    effective.iter().find(|s| s.name == name).unwrap().source
}

const FILE: &str = "[ingest]\nlisten = '1.1.1.1:3'\n[kafka]\nbootstrap = 'file:1'\n";

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let port = |given: Given| {
        let (ingest, effective) = given.ingest();
        (ingest.listen.port(), source_of(&effective, "listen"))
    };
    let env = "PUSHRAIL_LISTEN";
    assert_eq!(port(Given::new("ingest")), (8080, Source::Default));
    assert_eq!(port(Given::new("ingest").file(FILE)), (3, Source::File));
    let given = Given::new("ingest").file(FILE).env(env, "1.1.1.1:2");
    assert_eq!(port(given), (2, Source::Environment));
    let given = Given::new("ingest --listen 1.1.1.1:1")
        .file(FILE)
        .env(env, "1.1.1.1:2");
    assert_eq!(port(given), (1, Source::Flag));
}

#[test]
fn one_file_serves_every_command() {
    let file = format!("{FILE}[router]\nmust = 'yes'\n[registry]\nurl = 'http://r'\n");
    let loaded = Given::new("router").file(&file).load().unwrap();
    let Called::Router(router) = loaded.settings.command else {
        panic!("not the router");
    };
    assert_eq!(
        (router.must.as_str(), router.kafka.bootstrap.as_str()),
        ("yes", "file:1")
    );
    assert_eq!(router.registry.url, "http://r");
    let loaded = Given::new("destination add --config {}")
        .file(&file)
        .load()
        .unwrap();
    let Called::Destination(DestinationCommand::Add { config, kafka, .. }) =
        loaded.settings.command
    else {
        panic!("not add");
    };
    assert_eq!(
        (config.as_deref(), kafka.bootstrap.as_str()),
        (Some("{}"), "file:1")
    );
}

#[test]
fn a_flag_names_the_file_too() {
    let given = Given::new("ingest").file(FILE);
    let path = given.surroundings.env["PUSHRAIL_CONFIG"].clone();
    for form in [
        format!("ingest --config {path}"),
        format!("ingest --config-file={path}"),
    ] {
        assert_eq!(Given::new(&form).ingest().0.listen.port(), 3);
    }
    assert!(
        Given::new("ingest --config /nowhere.toml")
            .error()
            .contains("/nowhere.toml")
    );
}

#[test]
fn any_librdkafka_property_passes_through() {
    let file = "[kafka.properties]\n'security.protocol' = 'SASL_SSL'\n'sasl.password' = 'hunter2'\nretries = 5\n";
    let (ingest, effective) = Given::new("ingest").file(file).ingest();
    let properties = ingest.kafka.connection().properties;
    assert_eq!(properties["security.protocol"], "SASL_SSL");
    assert_eq!(properties["sasl.password"], "hunter2");
    assert_eq!(properties["retries"], "5");
    assert!(!format!("{effective:?} {ingest:?}").contains("hunter2"));
    let (ingest, _) =
        Given::new("ingest --kafka-property linger.ms=1 --kafka-property debug=broker,topic")
            .ingest();
    assert_eq!(
        ingest.kafka.connection().properties["debug"],
        "broker,topic"
    );
    let given = Given::new("ingest").env("PUSHRAIL_KAFKA_PROPERTIES", "linger.ms=1,client.rack=2");
    assert_eq!(given.ingest().0.kafka.connection().properties.len(), 2);
}

#[test]
fn a_property_that_cannot_be_passed_on_is_refused_where_it_was_given() {
    let error = Given::new("ingest --kafka-property sasl.passwrd=hunter2").error();
    assert!(
        error.contains("'sasl.passwrd=***' for '--kafka-property"),
        "{error}"
    );
    assert!(
        error.contains("librdkafka has no property sasl.passwrd"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    let given = Given::new("ingest").env("PUSHRAIL_KAFKA_PROPERTIES", "acks=1");
    let error = given.error();
    assert!(
        error.starts_with("PUSHRAIL_KAFKA_PROPERTIES: acks stays all"),
        "{error}"
    );
}

#[test]
fn an_address_that_is_none_names_the_flag_and_the_form() {
    for (given, flag, part) in [
        ("--kafka 127.0.0.1", "--kafka", "host:port"),
        ("--kafka http://127.0.0.1:9092", "--kafka", "host:port"),
        ("--kafka a:1,:2", "--kafka", "host:port"),
    ] {
        let error = Given::new(&format!("ingest {given}")).error();
        assert!(
            error.contains(flag) && error.contains(part),
            "{given}: {error}"
        );
    }
    let brokers = "SASL_SSL://a.example:9093,[::1]:9092";
    let (ingest, _) = Given::new(&format!("ingest --kafka {brokers}")).ingest();
    assert_eq!(ingest.kafka.connection().bootstrap, brokers);
}

#[test]
fn a_misspelt_key_is_an_error_that_names_the_nearest() {
    for (file, key, nearest) in [
        ("[ingest]\nlisen = 1", "ingest.lisen", "ingest.listen"),
        (
            "[kafka]\nbootstrap-servers = ''",
            "kafka.bootstrap-servers",
            "kafka.bootstrap",
        ),
        ("[ingres]\nlisten = 1", "ingres.listen", "ingest.listen"),
        ("[registry]\nuri = ''", "registry.uri", "registry.url"),
    ] {
        let error = Given::new("ingest").file(file).error();
        assert!(error.contains(&format!("unknown setting {key}")), "{error}");
        assert!(
            error.contains(&format!("did you mean {nearest}?")),
            "{error}"
        );
        assert!(error.contains("pushrail.toml"), "{error}");
    }
    let error = Given::new("ingest")
        .file("[ingest]\nconfig_file = ''")
        .error();
    assert!(
        error.contains("unknown setting ingest.config_file"),
        "{error}"
    );
}

#[test]
fn a_bad_value_is_blamed_on_where_it_was_written() {
    let error = Given::new("ingest")
        .file("[ingest]\nlisten = 'here'")
        .error();
    assert!(error.contains("pushrail.toml: ingest.listen"), "{error}");
    let error = Given::new("ingest").env("PUSHRAIL_LISTEN", "here").error();
    assert!(error.contains("PUSHRAIL_LISTEN: "), "{error}");
    let error = Given::new("ingest --listen here").error();
    assert!(error.contains("--listen"), "{error}");
    let error = Given::new("ingest").file("[ingest\n").error();
    assert!(error.contains("pushrail.toml"), "{error}");
    let error = Given::new("ingest")
        .file("[ingest]\nlisten = { a = 1 }")
        .error();
    assert!(error.contains("ingest.listen"), "{error}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let given = Given::new("ingest");
    let path = given.dir.path().join("key");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap().to_owned();
    let given = given.env("PUSHRAIL_KEY_FILE", &path);
    let (ingest, effective) = given.ingest();
    assert_eq!(ingest.key.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(source_of(&effective, "key"), Source::SecretFile);
    assert!(!format!("{effective:?} {ingest:?}").contains("hunter2"));
    let at = Given::new("ingest").env("PUSHRAIL_KEY", &format!("@{path}"));
    assert_eq!(at.ingest().0.key.unwrap().expose(), "hunter2");
    let error = given.env("PUSHRAIL_KEY", "other").error();
    assert!(error.contains("PUSHRAIL_KEY is set as well"), "{error}");
    let missing = Given::new("ingest")
        .env("PUSHRAIL_KEY_FILE", "/nowhere")
        .error();
    assert!(
        missing.contains("PUSHRAIL_KEY_FILE") && missing.contains("/nowhere"),
        "{missing}"
    );
}

#[test]
fn a_switch_can_be_set_in_the_file_and_help_still_names_the_variables() {
    assert!(
        Given::new("ingest")
            .file("[ingest]\ndirect = true")
            .ingest()
            .0
            .direct
    );
    let help = Given::new("ingest --help")
        .env("PUSHRAIL_KEY", "hunter2")
        .error();
    assert!(help.contains("[env: PUSHRAIL_LISTEN]"), "{help}");
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn the_printed_account_has_a_line_a_setting() {
    let loaded = Given::new("ingest --print-config")
        .file(FILE)
        .load()
        .unwrap();
    let printed = loaded.print();
    assert!(
        printed.contains("listen         = 1.1.1.1:3  # file\n"),
        "{printed}"
    );
    assert!(
        printed.contains("kafka          = file:1  # file\n"),
        "{printed}"
    );
}

#[test]
fn a_file_of_variables_fills_what_the_environment_leaves_open() {
    let mut given = Given::new("ingest --env");
    let path = given.dir.path().join("dev.env");
    let text = "# written by dev\nexport PUSHRAIL_LISTEN='1.1.1.1:9'\nPUSHRAIL_KAFKA=env:1\n\n";
    std::fs::write(&path, text).unwrap();
    assert!(
        given.surroundings.clone().with_env_file().is_err(),
        "no path"
    );
    given.surroundings.args.push(path.clone().into());
    let given = given.env("PUSHRAIL_KAFKA", "set:1");
    let surroundings = given.surroundings.clone().with_env_file().unwrap();
    let given = Given {
        surroundings,
        ..given
    };
    let (ingest, _) = given.ingest();
    assert_eq!(ingest.listen.port(), 9);
    assert_eq!(ingest.kafka.bootstrap, "set:1");
    std::fs::write(&path, "PUSHRAIL_LISTEN\n").unwrap();
    let bad = Given::new(&format!("ingest --env={}", path.display()));
    let error = bad.surroundings.with_env_file().unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn a_stronger_place_replaces_one_property_and_not_all_of_them() {
    let file = "[kafka.properties]\n'client.rack' = 'file'\n'sasl.username' = 'file'\n'ssl.ca.location' = 'file'\n";
    let given = Given::new("ingest --kafka-property ssl.ca.location=flag")
        .file(file)
        .env(
            "PUSHRAIL_KAFKA_PROPERTIES",
            "sasl.username=env,ssl.ca.location=env",
        );
    let properties = given.ingest().0.kafka.connection().properties;
    let values =
        ["client.rack", "sasl.username", "ssl.ca.location"].map(|name| properties[name].as_str());
    assert_eq!(values, ["file", "env", "flag"]);
}

#[test]
fn a_secret_that_is_refused_is_not_quoted() {
    let on_the_line = Given::new("ingest --token hunter2").error();
    let in_a_file = Given::new("ingest")
        .file("[ingest]\ntoken = 'hunter2'\n")
        .error();
    for error in [on_the_line, in_a_file] {
        assert!(
            error.contains("token")
                && error.contains("32 characters")
                && !error.contains("hunter2"),
            "{error}"
        );
    }
}
