//! What kustomize makes of an overlay, as far as it concerns the program.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_norway::Value;
use tokio::process::Command;

use crate::harness::kustomize;

/// The objects of an overlay, among them one Deployment of Larder.
pub(super) struct Manifest {
    objects: Vec<Value>,
    /// The name of the Deployment.
    name: &'static str,
}

/// A probe by gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) port: u16,
    pub(super) service: String,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone)]
pub(super) enum Variable {
    Text(String),
    /// A key of the Secret of Larder.
    Secret(String),
}

impl Manifest {
    /// Renders an overlay. `None` without kustomize.
    pub(super) async fn render(overlay: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/overlays").join(overlay);
        let output = Command::new(kustomize()?).arg("build").arg(folder).output().await.expect("kustomize to start");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rendered = String::from_utf8(output.stdout).expect("text");
        let objects = rendered.split("\n---\n").map(|object| serde_norway::from_str(object).expect("YAML")).collect();
        let name = if overlay == "online-boutique" { "productcatalogservice" } else { "larder" };
        Some(Self { objects, name })
    }

    /// The Service of a name.
    pub(super) fn service(&self, name: &str) -> &Value {
        self.object("Service", name)
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// The Deployment.
    pub(super) fn deployment(&self) -> &Value {
        self.object("Deployment", self.name)
    }

    /// The specification of Larder's pods.
    pub(super) fn pod(&self) -> &Value {
        &self.deployment()["spec"]["template"]["spec"]
    }

    /// Larder's container.
    pub(super) fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// What is passed to the entry point of the image, which is `larder`.
    pub(super) fn arguments(&self) -> Vec<&str> {
        assert!(self.container()["command"].is_null(), "the entry point of the image stays");
        list(&self.container()["args"]).map(text).collect()
    }

    /// The environment.
    pub(super) fn variables(&self) -> Vec<(&str, Variable)> {
        list(&self.container()["env"]).map(variable).collect()
    }

    /// The text of a variable.
    pub(super) fn variable(&self, name: &str) -> String {
        match self.variables().into_iter().find(|(found, _)| *found == name) {
            Some((_, Variable::Text(text))) => text,
            other => panic!("no text of {name}: {other:?}"),
        }
    }

    /// The port of a variable that holds an address.
    pub(super) fn port_of(&self, variable: &str) -> u16 {
        self.variable(variable).parse::<SocketAddr>().expect("an address").port()
    }

    /// The port of the container with this name.
    pub(super) fn named_port(&self, name: &str) -> u16 {
        let found = list(&self.container()["ports"]).find(|port| port["name"] == name);
        port(&found.unwrap_or_else(|| panic!("no port {name}"))["containerPort"])
    }

    /// The probe under one of the keys `startupProbe`, `livenessProbe` and `readinessProbe`.
    pub(super) fn probe(&self, key: &str) -> Probe {
        let probe = &self.container()[key]["grpc"];
        Probe { port: port(&probe["port"]), service: text(&probe["service"]).to_owned() }
    }

    /// The files that a `ConfigMap` puts into the pod, with what they hold.
    pub(super) fn files(&self) -> Vec<(String, &str)> {
        let mut files = Vec::new();
        for mount in list(&self.container()["volumeMounts"]) {
            let volume = list(&self.pod()["volumes"]).find(|volume| volume["name"] == mount["name"]).expect("a volume");
            let Some(name) = volume["configMap"]["name"].as_str() else { continue };
            for (key, value) in self.object("ConfigMap", name)["data"].as_mapping().expect("files") {
                files.push((format!("{}/{}", text(&mount["mountPath"]), text(key)), text(value)));
            }
        }
        files
    }

    /// Where volumes are mounted.
    pub(super) fn mounts(&self) -> Vec<&str> {
        list(&self.container()["volumeMounts"]).map(|mount| text(&mount["mountPath"])).collect()
    }

    /// From the decision to end a pod until SIGTERM, and until SIGKILL.
    pub(super) fn grace(&self) -> (Duration, Duration) {
        let seconds = |value: &Value| Duration::from_secs(value.as_u64().expect("seconds"));
        let before = seconds(&self.container()["lifecycle"]["preStop"]["sleep"]["seconds"]);
        (before, seconds(&self.pod()["terminationGracePeriodSeconds"]))
    }
}

fn variable(entry: &Value) -> (&str, Variable) {
    let secret = &entry["valueFrom"]["secretKeyRef"]["key"];
    let value = if secret.is_null() {
        Variable::Text(text(&entry["value"]).to_owned())
    } else {
        Variable::Secret(text(secret).to_owned())
    };
    (text(&entry["name"]), value)
}

/// The elements of a list.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_sequence().expect("a list").iter()
}

/// A text.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

/// A port.
pub(super) fn port(value: &Value) -> u16 {
    value.as_u64().and_then(|port| port.try_into().ok()).unwrap_or_else(|| panic!("no port: {value:?}"))
}
