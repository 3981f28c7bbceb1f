#!/usr/bin/env python3
"""Prints the dashboard, deploy/grafana/larder.json: `deploy/grafana/dashboard.py > deploy/grafana/larder.json`.

A dashboard by hand is some 3,000 lines, most of them alike. Here a panel is a title, what it shows, a unit and its queries.
`@` in a query stands for the variables, so that every panel follows them; series that the recording rules make know no
replica, and take the job alone.
"""

import json

WIDTH = 24
FILTER = 'job=~"$job", instance=~"$instance"'
CALLS = 'rpc_method=~"(larder[.]catalog|hipstershop|oteldemo)[.].+"'
UNARY = CALLS + ', rpc_method!~".+/(Watch|Import)Products"'
# What the objectives in deploy/prometheus/objectives.yml allow.
MAY_FAIL, MAY_BE_SLOW = 0.001, 0.05


def quantiles(metric, labels="@", by=""):
    """The median and the tails of a histogram, by label or altogether."""
    legend = "".join(f"{{{{{label}}}}} " for label in by.split(", ") if label)
    grouping = f"le, {by}" if by else "le"
    return [
        (
            f"histogram_quantile({q}, sum by ({grouping}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))",
            f"{legend}p{q * 100:g}",
        )
        for q in (0.5, 0.95, 0.99)
    ]


def rate(metric, by, labels="@", legend=None):
    """Events per second, summed over the replicas by some labels."""
    text = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return (f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))", text)


def total(metric, legend, labels="@"):
    """Events per second, summed over the replicas."""
    return (f"sum(rate({metric}{{{labels}}}[$__rate_interval]))", legend)


# Title, what it shows, unit, query.
GLANCE = [
    ("Ready", "Replicas that are ready to serve.", "short", "sum(larder_ready{@})"),
    (
        "Calls",
        "Calls per second.",
        "reqps",
        f"sum(rate(rpc_server_call_duration_seconds_count{{@, {CALLS}}}[$__rate_interval]))",
    ),
    (
        "Failed, 3 days",
        "Share of the calls that failed. The objective allows 0.1%.",
        "percentunit",
        'max(job:larder_calls_failed:ratio_rate3d{job=~"$job"})',
    ),
    (
        "Slow, 3 days",
        "Share of the answered calls that took longer than 100 ms. The objective allows 5%.",
        "percentunit",
        'max(job:larder_calls_slow:ratio_rate3d{job=~"$job"})',
    ),
    (
        "Served by caches",
        "Keys that L1 or L2 answered, as a share of the keys that readers asked for.",
        "percentunit",
        'min(job:larder_cache_reads:hit_ratio_rate5m{job=~"$job"})',
    ),
    (
        "Oldest proof",
        "Age of the last pass over the change log, on the replica where it is oldest, as a share of the staleness bound.",
        "percentunit",
        "max(larder_changelog_pass_age_seconds{@} / larder_staleness_bound_seconds{@})",
    ),
    (
        "Out of sync",
        "Replicas that cannot prove that their copies are valid.",
        "short",
        "sum(1 - larder_replica_in_sync{@})",
    ),
    (
        "Alerts",
        "Alerts that fire now.",
        "short",
        'count(ALERTS{alertname=~"Larder.+", alertstate="firing", job=~"$job"}) or vector(0)',
    ),
]

# Row, then its panels: title, what it shows, unit, queries with their legends, and options of the panel.
ROWS = [
    (
        "Calls",
        [
            (
                "Calls by method",
                "Calls per second. A stream counts when it ends.",
                "reqps",
                [rate("rpc_server_call_duration_seconds_count", "rpc_method", f"@, {CALLS}")],
            ),
            (
                "Calls by code",
                "Calls per second, by gRPC status.",
                "reqps",
                [rate("rpc_server_call_duration_seconds_count", "rpc_response_status_code", f"@, {CALLS}")],
            ),
            (
                "Latency",
                "How long calls took, without the two streaming methods.",
                "s",
                quantiles("rpc_server_call_duration_seconds", f"@, {UNARY}"),
                {"exemplar": True},
            ),
            (
                "Latency by method, p95",
                "The slowest of twenty calls.",
                "s",
                [
                    (
                        f"histogram_quantile(0.95, sum by (le, rpc_method) (rate(rpc_server_call_duration_seconds_bucket{{@, {UNARY}}}[$__rate_interval])))",
                        "{{rpc_method}}",
                    )
                ],
            ),
            (
                "Error budget burnt",
                "1 spends the budget in 30 days. The first alert comes at 14.4.",
                "short",
                [
                    (f'job:larder_calls_failed:ratio_rate{window}{{job=~"$job"}} / {MAY_FAIL}', f"failed, {window}")
                    for window in ("1h", "6h")
                ]
                + [
                    (f'job:larder_calls_slow:ratio_rate{window}{{job=~"$job"}} / {MAY_BE_SLOW}', f"slow, {window}")
                    for window in ("1h", "6h")
                ],
            ),
            (
                "In progress",
                "Calls in progress.",
                "short",
                [("sum by (instance) (larder_calls_in_flight{@})", "{{instance}}")],
            ),
        ],
    ),
    (
        "Freshness",
        [
            (
                "From commit to learned",
                "How long a change took from its commit until a replica knew of it: the staleness that a reader could see.",
                "s",
                [("sum by (le) (increase(larder_commit_to_learned_seconds_bucket{@}[$__rate_interval]))", "{{le}}")],
                {"type": "heatmap"},
            ),
            (
                "From commit to learned, by source",
                "The bus is quick; the change log is what holds the bound.",
                "s",
                quantiles("larder_commit_to_learned_seconds", by="source"),
                {"exemplar": True},
            ),
            (
                "Age of the last pass",
                "A pass is due every quarter of the staleness bound. Past the bound, reads are marked stale.",
                "s",
                [
                    ("larder_changelog_pass_age_seconds{@}", "{{instance}}"),
                    ("max(larder_staleness_bound_seconds{@})", "staleness bound"),
                ],
            ),
            (
                "In sync",
                "1 while a replica can prove that its copies are valid.",
                "short",
                [("larder_replica_in_sync{@}", "{{instance}}")],
                {"max": 1},
            ),
            (
                "Changes applied, by source",
                "Changes per second, by where a replica heard of them first.",
                "ops",
                [rate("larder_invalidations_total", "source")],
            ),
            (
                "Changes applied, by replica",
                "Every replica of a catalogue applies every change; lines that part are a fault.",
                "ops",
                [rate("larder_invalidations_total", "instance")],
            ),
            (
                "Changes applied, by subject",
                "What the changes touch.",
                "ops",
                [rate("larder_invalidations_total", "subject")],
            ),
            (
                "Missed by the bus",
                "Share of the changes that the change log brought first. Changes by SQL always count.",
                "percentunit",
                [
                    (
                        'sum by (instance) (rate(larder_changelog_changes_total{@, first_source="log"}[$__rate_interval]))'
                        " / sum by (instance) (rate(larder_changelog_changes_total{@}[$__rate_interval]))",
                        "{{instance}}",
                    )
                ],
                {"max": 1},
            ),
            (
                "Change log",
                "Rows, as counted when the log was last pruned.",
                "short",
                [("max(larder_changelog_rows{@})", "rows")],
            ),
        ],
    ),
    (
        "Tiers",
        [
            (
                "Hit ratio by tier",
                "Keys that a tier answered, as a share of the keys that it was asked for.",
                "percentunit",
                [
                    (
                        'sum by (tier) (rate(larder_cache_reads_total{@, result=~"hit|stale"}[$__rate_interval]))'
                        " / sum by (tier) (rate(larder_cache_reads_total{@}[$__rate_interval]))",
                        "{{tier}}",
                    )
                ],
                {"max": 1},
            ),
            (
                "Reads",
                "Keys per second, by tier and result. `stale`: answered past the bound, because the database was away.",
                "ops",
                [rate("larder_cache_reads_total", "tier, result")],
            ),
            (
                "Writes to the tiers",
                "Copies per second that were stored, not stored because they were outdated, and removed by key.",
                "ops",
                [
                    rate("larder_cache_sets_total", "tier", legend="stored in {{tier}}"),
                    rate("larder_cache_not_stored_total", "tier", legend="not stored in {{tier}}"),
                    rate("larder_cache_deletes_total", "tier", legend="removed from {{tier}}"),
                ],
            ),
            (
                "L1: bytes",
                "Bytes of copies, beside what they may take and what the process takes.",
                "bytes",
                [
                    ("larder_cache_size_bytes{@}", "{{instance}}"),
                    ("max(larder_cache_capacity_bytes{@})", "allotted"),
                    ("process_resident_memory_bytes{@}", "{{instance}} resident"),
                ],
            ),
            (
                "L1: copies",
                "Copies, beside how many there may be.",
                "short",
                [("larder_cache_entries{@}", "{{instance}}"), ("max(larder_cache_capacity_entries{@})", "allotted")],
            ),
            (
                "L1: evictions",
                "Copies per second that left, by cause. `capacity`: there was no room.",
                "ops",
                [rate("larder_cache_evictions_total", "cause")],
            ),
        ],
    ),
    (
        "Loads",
        [
            (
                "Loads",
                "Loads from the database per second.",
                "ops",
                [
                    total("larder_loads_total", "begun"),
                    total("larder_load_errors_total", "failed"),
                    total("larder_loads_refused_total", "refused"),
                    total("larder_single_flight_joins_total", "reads that joined one"),
                ],
            ),
            (
                "Latency of loads",
                "How long loads took, failed ones included.",
                "s",
                quantiles("larder_load_duration_seconds"),
                {"exemplar": True},
            ),
            (
                "Leases",
                "The right to load a key for all replicas: won, held by another, taken over from one that did not load.",
                "ops",
                [rate("larder_leases_total", "outcome")],
            ),
            (
                "Loads ahead",
                "Copies per second that were loaded before a reader needed them, and what became of them.",
                "ops",
                [
                    total("larder_refreshes_total", "refreshed early"),
                    total("larder_prefetches_total", "prefetched"),
                    rate("larder_prefetched_copies_total", "outcome", legend="prefetched and {{outcome}}"),
                ],
            ),
            (
                "Connections to the database",
                "Connections in use and idle, beside how many there may be.",
                "short",
                [
                    (
                        "sum by (db_client_connection_state) (db_client_connections{@})",
                        "{{db_client_connection_state}}",
                    ),
                    ("sum(db_client_connection_max{@})", "allotted"),
                ],
            ),
            (
                "Passes over the change log",
                "Passes per second, by outcome.",
                "ops",
                [rate("larder_changelog_passes_total", "outcome")],
            ),
        ],
    ),
    (
        "Redis and the bus",
        [
            (
                "Latency of Redis",
                "Round trips to Redis.",
                "s",
                quantiles("db_client_operation_duration_seconds", '@, db_system_name="redis"'),
            ),
            ("Errors of Redis", "Errors per second, by kind.", "ops", [rate("larder_l2_errors_total", "kind")]),
            (
                "Breaker",
                "1 while a replica goes without Redis.",
                "short",
                [("larder_l2_breaker_open{@}", "{{instance}}")],
                {"max": 1},
            ),
            (
                "Copies not used",
                "Copies per second that Redis returned and a replica did not serve; copies that were never sent.",
                "ops",
                [
                    rate("larder_l2_rejected_copies_total", "reason"),
                    total("larder_l2_write_behind_dropped_total", "write-behind dropped"),
                ],
            ),
            (
                "Bus",
                "1 while a replica receives messages.",
                "short",
                [("larder_bus_up{@}", "{{instance}}")],
                {"max": 1},
            ),
            (
                "Messages",
                "Messages and changes per second; messages that were lost or not understood.",
                "ops",
                [
                    total("larder_bus_messages_total", "messages"),
                    total("larder_bus_changes_total", "changes"),
                    total("larder_bus_undecodable_total", "not understood"),
                    total("larder_bus_overflows_total", "no room"),
                    total("larder_bus_disconnects_total", "disconnects"),
                ],
            ),
            (
                "Lag of the bus",
                "From sending the last message to applying it, by the clocks of both replicas.",
                "s",
                [("larder_bus_lag_seconds{@}", "{{instance}}")],
            ),
            ("Peers", "Other replicas that a replica knows of.", "short", [("larder_peers{@}", "{{instance}}")]),
            (
                "Events of other systems",
                "Webhooks and entries of the queue per second, by what became of them.",
                "ops",
                [
                    rate("larder_webhook_events_total", "outcome", legend="webhooks {{outcome}}"),
                    rate("larder_queue_events_total", "outcome", legend="queue {{outcome}}"),
                ],
            ),
        ],
    ),
    (
        "Process",
        [
            (
                "CPU",
                "Cores in use.",
                "short",
                [("rate(process_cpu_seconds_total{@}[$__rate_interval])", "{{instance}}")],
            ),
            (
                "File descriptors",
                "Open file descriptors, as a share of those that may be open.",
                "percentunit",
                [("process_open_fds{@} / process_max_fds{@}", "{{instance}}")],
            ),
            ("Threads", "Threads of the process.", "short", [("process_threads{@}", "{{instance}}")]),
            (
                "Runtime",
                "Tasks of the runtime of loads and writes, those that wait for a thread, and its threads.",
                "short",
                [
                    ("sum(larder_runtime_alive_tasks{@})", "tasks"),
                    ("sum(larder_runtime_global_queue_depth{@})", "waiting"),
                    ("sum(larder_runtime_workers{@})", "threads"),
                ],
            ),
            (
                "Uptime and release",
                "How long a replica has been up, and its release.",
                "s",
                [
                    (
                        "time() - process_start_time_seconds{@} + on (job, instance) group_left (version) 0 * larder_build_info{@}",
                        "{{instance}} {{version}}",
                    )
                ],
            ),
            (
                "Telemetry dropped",
                "Spans and batches of metrics per second that could not be exported.",
                "ops",
                [rate("larder_telemetry_dropped_total", "signal")],
            ),
        ],
    ),
]


def target(index, query, legend="", exemplar=False, heatmap=False):
    return {
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "editorMode": "code",
        "exemplar": exemplar,
        "expr": query.replace("@", FILTER),
        "format": "heatmap" if heatmap else "time_series",
        "legendFormat": legend,
        "range": True,
        "refId": chr(ord("A") + index),
    }


def panel(number, place, title, description, unit, queries, options=None):
    options = options or {}
    kind = options.get("type", "timeseries")
    defaults = {"unit": unit, "min": 0}
    if "max" in options:
        defaults["max"] = options["max"]
    made = {
        "id": number,
        "type": kind,
        "title": title,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            target(index, query, legend, options.get("exemplar", False), kind == "heatmap")
            for index, (query, legend) in enumerate(queries)
        ],
    }
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
        made["options"] = {
            "legend": {"calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "heatmap":
        made["options"] = {
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Blues",
                "steps": 64,
                "exponent": 0.5,
                "fill": "dark-blue",
                "reverse": False,
            },
            "exemplars": {"color": "orange"},
            "legend": {"show": True},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": False},
            "yAxis": {"unit": unit},
        }
    else:
        made["options"] = {
            "colorMode": "none",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": "auto",
            "wideLayout": True,
        }
    return made


def panels():
    made, y = [], 0
    width = WIDTH // len(GLANCE)
    for index, (title, description, unit, query) in enumerate(GLANCE):
        place = {"h": 4, "w": width, "x": index * width, "y": y}
        made.append(panel(len(made) + 1, place, title, description, unit, [(query, "")], {"type": "stat"}))
    y += 4
    for title, row in ROWS:
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            }
        )
        y += 1
        for index, each in enumerate(row):
            place = {"h": 8, "w": 8, "x": index % 3 * 8, "y": y + index // 3 * 8}
            made.append(panel(len(made) + 1, place, *each))
        y += (len(row) + 2) // 3 * 8
    return made


def variable(name, label, query):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": query,
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard():
    return {
        "uid": "larder",
        "title": "Larder",
        "description": "The replicas of a catalogue: calls, freshness, tiers, loads, Redis and the bus.",
        "tags": ["larder"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {"text": "default", "value": "default"},
                },
                variable("job", "Job", "label_values(larder_build_info, job)"),
                variable("instance", "Instance", 'label_values(larder_build_info{job=~"$job"}, instance)'),
            ]
        },
        "panels": panels(),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2, ensure_ascii=False))
