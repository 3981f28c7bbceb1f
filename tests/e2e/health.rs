//! The health service.

use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{Database, Refusal, Server, on_both_databases, refusal};

on_both_databases!(every_name_is_served_until_the_server_stops, who_watches_learns_of_the_end);

const NAMES: [&str; 5] =
    ["", "liveness", "readiness", "larder.catalog.v1.ProductCatalog", "larder.admin.v1.CacheAdmin"];

async fn every_name_is_served_until_the_server_stops(database: &Database) {
    let server = Server::start(database).await;
    let mut client = HealthClient::new(server.channel());
    for name in NAMES {
        let reply = client.check(request(name)).await.expect("an answer");
        assert!(reply.metadata().contains_key("x-request-id"), "{name:?}");
        assert_eq!(reply.into_inner().status(), ServingStatus::Serving, "{name:?}");
    }
    let unknown = Refusal::of(Code::NotFound, "UNKNOWN_SERVICE");
    for name in ["Liveness", "larder.catalog.v1", "larder.admin.v1", " "] {
        let status = client.check(request(name)).await.expect_err("there is no such service");
        assert_eq!(refusal(&status), unknown, "{name:?}");
        let status = client.watch(request(name)).await.expect_err("there is no such service");
        assert_eq!(refusal(&status), unknown, "{name:?}");
    }
    server.stop().await;
    assert!(client.check(request("")).await.is_err(), "nobody answers any more");
}

async fn who_watches_learns_of_the_end(database: &Database) {
    let server = Server::start(database).await;
    let mut watches = Vec::new();
    for name in NAMES {
        let stream = HealthClient::new(server.channel()).watch(request(name)).await.expect("a stream");
        let mut stream = stream.into_inner();
        assert_eq!(next(&mut stream).await, Some(ServingStatus::Serving), "{name:?}");
        watches.push((name, stream));
    }
    server.stop().await;
    for (name, mut stream) in watches {
        // A server that drains is alive: it must not be restarted.
        if name != "liveness" {
            assert_eq!(next(&mut stream).await, Some(ServingStatus::NotServing), "{name:?}");
        }
        assert_eq!(next(&mut stream).await, None, "{name:?}");
    }
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn next(stream: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    stream.message().await.expect("a stream that is not cut").map(|reply| reply.status())
}
