use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn of(user: User) -> Rights {
    rights(&user, &name("local"))
}

/// As nats-server matches.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == "*" || wanted == found => (),
            _ => return false,
        }
    }
}

fn may_publish(user: User, subject: &str) -> bool {
    of(user).publish.iter().any(|pattern| covers(pattern, subject))
}

fn may_hear(user: User, subject: &str) -> bool {
    of(user).subscribe.iter().any(|pattern| covers(pattern, subject))
}

fn everybody() -> Vec<User> {
    let holder = User::Holder(name("demo"), name("sim-a"));
    let named =
        [User::Agent(name("sim-a")), User::Sidecar(name("sim-a")), User::Project(name("demo")), holder];
    User::standard().chain(named).collect()
}

#[test]
fn nobody_may_do_everything() {
    for user in everybody() {
        let Rights { publish, subscribe } = of(user.clone());
        // For nats-server an empty list is no limit at all.
        assert!(!publish.is_empty() && !subscribe.is_empty(), "{user}");
        for all in [">", "*.>", "$JS.API.>", "$KV.>", "$SYS.>"] {
            assert!(!publish.contains(all) && !subscribe.contains(all), "{user}: {all}");
        }
    }
}

#[test]
fn only_a_service_says_what_it_decided() {
    for service in Service::ALL {
        let event = format!("bcs.evt.{service}.local.demo.app.shop.scaled");
        for user in everybody() {
            assert_eq!(may_publish(user.clone(), &event), user == User::Service(service), "{user}: {event}");
            let last = format!("$JS.API.STREAM.MSG.GET.{}", service.event_stream());
            assert_eq!(may_publish(user.clone(), &last), user == User::Service(service), "{user}: {last}");
        }
    }
}

#[test]
fn a_project_commands_its_own_objects_and_reads_its_own_events() {
    let demo = || User::Project(name("demo"));
    assert!(may_publish(demo(), "bcs.cmd.deploy.local.demo.app.shop.scale"));
    assert!(may_publish(demo(), "$JS.API.CONSUMER.CREATE.EVT_DEPLOY.x.bcs.evt.deploy.*.demo.app.shop.*"));
    for subject in [
        "bcs.cmd.deploy.local.other.app.shop.scale",
        "bcs.cmd.cluster.local.system.cluster.sim-a.remove",
        "bcs.qry.deploy.app.list",
        "bcs.agt.local.sim-a.step",
        "$JS.API.CONSUMER.CREATE.EVT_DEPLOY.x.bcs.evt.deploy.*.other.app.shop.*",
        "$JS.API.CONSUMER.CREATE.EVT_DEPLOY.x",
        "$JS.API.CONSUMER.CREATE.EVT_DEPLOY",
        "$JS.API.CONSUMER.CREATE.KV_endpoints.x.$KV.endpoints.>",
        "$JS.API.DIRECT.GET.KV_endpoints.$KV.endpoints.sim-a.demo.shop.a",
        "$JS.API.STREAM.MSG.GET.CMD_DEPLOY",
        "$JS.API.STREAM.PURGE.EVT_DEPLOY",
        "$JS.API.STREAM.DELETE.EVT_DEPLOY",
        "$KV.endpoints.sim-a.demo.shop.a",
    ] {
        assert!(!may_publish(demo(), subject), "{subject}");
    }
    assert!(may_hear(demo(), "_INBOX.project-demo.1"));
    for subject in ["_INBOX.project-other.1", "_INBOX.1", "bcs.cmd.deploy.local.other.app.shop.scale", ">"] {
        assert!(!may_hear(demo(), subject), "{subject}");
    }
}

#[test]
fn a_sidecar_and_an_agent_speak_for_their_own_cluster_only() {
    for user in [User::Sidecar(name("sim-a")), User::Agent(name("sim-a"))] {
        for subject in [
            "$KV.registrations.sim-b.demo.shop.x.file",
            "$KV.endpoints.sim-b.demo.shop.x",
            "$KV.leases.agent.sim-b",
            "$KV.leases.sidecar.sim-b.file",
            "bcs.cmd.deploy.local.demo.app.shop.delete",
            "$JS.API.CONSUMER.CREATE.KV_endpoints.x.$KV.endpoints.sim-b.>",
            "$JS.API.CONSUMER.CREATE.KV_endpoints.x.$KV.endpoints.>",
            "$JS.API.STREAM.UPDATE.EVT_DEPLOY",
        ] {
            assert!(!may_publish(user.clone(), subject), "{user}: {subject}");
        }
    }
    assert!(may_publish(User::Sidecar(name("sim-a")), "$KV.registrations.sim-a.demo.shop.x.file"));
    assert!(!may_publish(User::Sidecar(name("sim-a")), "$KV.endpoints.sim-a.demo.shop.x"));
    assert!(may_publish(User::Agent(name("sim-a")), "$KV.endpoints.sim-a.demo.shop.x"));
    assert!(!may_hear(User::Agent(name("sim-a")), "bcs.agt.local.sim-b.step"));
    assert!(may_hear(User::Agent(name("sim-a")), "$KV.leases.agent.sim-a"));
    assert!(!may_hear(User::Agent(name("sim-a")), "$KV.leases.agent.sim-b"));
}

#[test]
fn a_holder_reads_what_concerns_its_project_and_says_nothing() {
    let holder = || User::Holder(name("demo"), name("sim-a"));
    for said in of(holder()).publish {
        assert!(said.starts_with("$JS.API.") || said.starts_with("$JS.FC."), "{said}");
        assert!(!said.contains("STREAM.CREATE") && !said.contains("STREAM.UPDATE"), "{said}");
    }
    for (watched, may) in [
        ("KV_endpoints.x.$KV.endpoints.sim-a.demo.shop.>", true),
        ("KV_registrations.x.$KV.registrations.sim-a.demo.shop.web-1.*", true),
        ("KV_registries.x.$KV.registries.sim-a.>", true),
        ("KV_clusters.x.$KV.clusters.sim-a", true),
        ("KV_endpoints.x.$KV.endpoints.sim-a.>", false),
        ("KV_endpoints.x.$KV.endpoints.sim-b.demo.>", false),
        ("KV_registrations.x.$KV.registrations.sim-a.other.>", false),
        ("EVT_DEPLOY.x.bcs.evt.deploy.>", false),
    ] {
        assert_eq!(may_publish(holder(), &format!("$JS.API.CONSUMER.CREATE.{watched}")), may, "{watched}");
    }
    assert_eq!(of(holder()).subscribe, ["_INBOX_holder-demo.sim-a.>".to_owned()].into());
}

#[test]
fn nobody_can_have_an_outcome_sent_to_a_service() {
    for service in Service::ALL {
        let aimed = format!("{}.1", User::Service(Service::Deploy).inbox());
        // The cluster service speaks for agents, whom deploy asks.
        let agents = service == Service::Cluster;
        assert_eq!(may_publish(User::Service(service), &aimed), agents, "{service}");
    }
}

#[test]
fn only_the_operator_asks_for_entries_to_change_hands_and_only_the_sidecar_of_the_cluster_answers() {
    let door = "bcs.reg.local.sim-a.dns";
    for user in everybody().into_iter().chain([User::Sidecar(name("sim-b")), User::Agent(name("sim-b"))]) {
        assert_eq!(may_publish(user.clone(), door), user == User::Operator, "{user}");
        assert_eq!(may_hear(user.clone(), door), user == User::Sidecar(name("sim-a")), "{user}");
    }
    let sidecar = || User::Sidecar(name("sim-a"));
    assert!(may_publish(sidecar(), "_INBOX.operator.1.2"));
    for inbox in ["_INBOX.project-demo.1", "_INBOX.platform.1", "_INBOX_deploy.1", "_INBOX.1"] {
        assert!(!may_publish(sidecar(), inbox), "{inbox}");
    }
    assert!(!may_hear(sidecar(), "bcs.reg.elsewhere.sim-a.dns"), "of its own site alone");
}
