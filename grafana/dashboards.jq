# The dashboards, written once and small; `grafana/build` expands them to grafana/*.json.
#
# panel(TITLE; UNIT; WHAT IT SAYS; QUERIES) is a time series, stat() one number, table() the newest values. A query is {LEGEND: PROMQL}.
# Units are Grafana's: short, reqps, s, bytes, percentunit, dateTimeAsIso.

def datasource: {type: "prometheus", uid: "${datasource}"};

def targets($queries): $queries | to_entries | to_entries
  | map({refId: ([65 + .key] | implode), expr: .value.value, legendFormat: .value.key, datasource: datasource});

def base($type; $title; $unit; $description; $queries; $width):
  {type: $type, title: $title, description: $description, datasource: datasource, targets: targets($queries), width: $width,
   fieldConfig: {defaults: {unit: $unit, min: (if $unit == "dateTimeAsIso" then null else 0 end)}, overrides: []}}
  | del(.. | nulls);

def panel($title; $unit; $description; $queries):
  base("timeseries"; $title; $unit; $description; $queries; 12)
  | .fieldConfig.defaults.custom = {drawStyle: "line", fillOpacity: 10, showPoints: "never"}
  | .options = {legend: {displayMode: "list", placement: "bottom"}, tooltip: {mode: "multi", sort: "desc"}};

def stacked: .fieldConfig.defaults.custom += {stacking: {mode: "normal"}, fillOpacity: 40};

# `steps` are the values from which a number turns yellow and red.
def stat($title; $unit; $description; $query; $steps):
  base("stat"; $title; $unit; $description; {"": $query}; 4)
  | .targets[0].instant = true
  | .options = {reduceOptions: {calcs: ["lastNotNull"]}, colorMode: "background", graphMode: "area"}
  | .fieldConfig.defaults.thresholds = {mode: "absolute", steps: ([{color: "green", value: null}] + $steps)};

def table($title; $unit; $description; $queries):
  base("table"; $title; $unit; $description; $queries; 24)
  | .targets |= map(. + {instant: true, format: "table"})
  | .transformations = [{id: "merge", options: {}}];

def yellow($value): {color: "yellow", value: $value};
def red($value): {color: "red", value: $value};

# From left to right, a new line where the width of 24 is full; every panel of a line has the same height.
def laid_out:
  reduce .[] as $panel ({x: 0, y: 0, high: 0, panels: []};
    ($panel.width) as $w | (if $panel.type == "stat" then 4 else 8 end) as $h
    | if .x + $w > 24 then .y += .high | .x = 0 | .high = 0 else . end
    | .panels += [$panel + {id: (.panels | length + 1), gridPos: {x: .x, y: .y, w: $w, h: $h}} | del(.width)]
    | .x += $w | .high = ([.high, $h] | max))
  | .panels;

def dashboard($uid; $title; $description; $panels):
  {uid: $uid, title: $title, description: $description, tags: ["postern"], timezone: "browser", schemaVersion: 39, version: 1,
   editable: true, graphTooltip: 1, refresh: "30s", time: {from: "now-6h", to: "now"},
   links: [{type: "dashboards", title: "postern", tags: ["postern"], asDropdown: true, includeVars: true, keepTime: true}],
   annotations: {list: [
     {name: "list activated", datasource: datasource, enable: true, iconColor: "blue", titleFormat: "list activated", textFormat: "{{list}} on {{instance}}",
      expr: "changes(postern_list_activated_timestamp_seconds{instance=~\"$instance\"}[1m]) > 0"},
     {name: "configuration loaded", datasource: datasource, enable: true, iconColor: "purple", titleFormat: "configuration loaded",
      textFormat: "{{instance}}", expr: "changes(postern_config_loaded_timestamp_seconds{instance=~\"$instance\"}[1m]) > 0"}]},
   templating: {list: [
     {name: "datasource", type: "datasource", query: "prometheus", label: "Prometheus"},
     {name: "instance", type: "query", label: "box", datasource: datasource, query: "label_values(postern_build_info, instance)",
      definition: "label_values(postern_build_info, instance)", refresh: 2, includeAll: true, multi: true, allValue: ".*", current: {text: "All", value: "$__all"}},
     {name: "list", type: "query", label: "list", datasource: datasource, query: "label_values(postern_list_serial, list)",
      definition: "label_values(postern_list_serial, list)", refresh: 2, includeAll: true, multi: true, allValue: ".*", current: {text: "All", value: "$__all"}}]},
   panels: ($panels | laid_out)};

def at: "instance=~\"$instance\"";
def rate_of($metric; $more): "rate(\($metric){\(at)\($more)}[$__rate_interval])";

def overview: dashboard("postern-overview"; "postern: SOC overview"; "Is it up, is it blocking, is anything odd."; [
  stat("Boxes up"; "short"; "Boxes that answer the scrape."; "sum(up{job=\"postern\"})"; []),
  stat("Not ready"; "short"; "Boxes whose /readyz names a problem. Ask each: postern status."; "count(postern_ready{\(at)} == 0) or vector(0)"; [red(1)]),
  stat("Nothing blocked"; "short"; "Boxes on which no list is in force or blocking is switched off."; "count(postern_blocking{\(at)} == 0) or vector(0)"; [red(1)]),
  stat("Queries"; "reqps"; "Queries read per second."; "sum(\(rate_of("postern_queries_total"; "")))"; []),
  stat("Blocked"; "percentunit"; "Share of responses that are blocks. A sudden rise is a campaign or a bad entry."; "sum(\(rate_of("postern_responses_total"; ",verdict=~\"blocked|exception_block\""))) / sum(\(rate_of("postern_responses_total"; "")))"; [yellow(0.05), red(0.2)]),
  stat("Servfail"; "percentunit"; "Share of responses that are SERVFAIL: broken zones, dead servers, or a cut line."; "sum(\(rate_of("postern_responses_total"; ",rcode=\"SERVFAIL\""))) / sum(\(rate_of("postern_responses_total"; "")))"; [yellow(0.02), red(0.05)]),
  (panel("Responses by verdict"; "reqps"; "What policy said of the names asked for."; {"{{verdict}}": "sum by (verdict) (\(rate_of("postern_responses_total"; "")))"}) | stacked),
  (panel("Responses by code"; "reqps"; "Response codes as clients see them."; {"{{rcode}}": "sum by (rcode) (\(rate_of("postern_responses_total"; "")))"}) | stacked),
  panel("Blocks by list"; "reqps"; "Names found on a list and answered with a block, by list."; {"{{list}} {{action}}": "sum by (list, action) (\(rate_of("postern_list_actions_total"; ",list=~\"$list\"")))"}),
  panel("Bogus by reason"; "reqps"; "Answers withheld because their DNSSEC proof is broken: an attack, or a zone that its owner broke."; {"{{reason}}": "sum by (reason) (\(rate_of("postern_bogus_total"; "")))"})
]);

def lists: dashboard("postern-lists"; "postern: threats and lists"; "What is blocked, by which list, and whether the lists are fresh."; [
  panel("Names on each list"; "short"; "Entries of the version in force. A step is an activation; a fall is worth a look."; {"{{list}} {{instance}}": "postern_list_entries{\(at),list=~\"$list\"}"}),
  panel("Age of each list"; "s"; "Time since the version in force was built."; {"{{list}} {{instance}}": "time() - postern_list_built_timestamp_seconds{\(at),list=~\"$list\"}"}),
  panel("What lists do"; "reqps"; "Names found on a list: blocked, or let through because they are allowed or protected."; {"{{action}}": "sum by (action) (\(rate_of("postern_list_actions_total"; ",list=~\"$list\"")))"}),
  panel("Refused updates"; "short"; "Pushes refused in an hour, by reason. The old version stays in force."; {"{{reason}}": "sum by (reason) (increase(postern_list_refused_total{\(at)}[1h]))"}),
  panel("Filter suspects"; "reqps"; "Names that a list's filter could not rule out, so that the list was read, and those of them that are not on it. Far more of the second than one in a thousand queries: somebody asks for names made to collide, which costs reads and blocks nothing."; {"{{list}} read": "sum by (list) (\(rate_of("postern_list_filter_maybes_total"; ",list=~\"$list\"")))", "{{list}} not listed": "sum by (list) (\(rate_of("postern_list_filter_false_maybes_total"; ",list=~\"$list\"")))"}),
  panel("Filter memory"; "bytes"; "Memory of each list's filter: all that a list keeps there for its names."; {"{{list}} {{instance}}": "postern_list_filter_bytes{\(at),list=~\"$list\"}"}),
  panel("Exceptions in force"; "short"; "Names that operators block or let through by hand."; {"{{action}} {{instance}}": "postern_exceptions{\(at)}"}),
  panel("Damaged blocks"; "short"; "Blocks of list files that could not be read. More than none: the disk is dying, or the file was changed."; {"{{list}} {{instance}}": "postern_list_read_errors_total{\(at),list=~\"$list\"}"}),
  table("Versions"; "short"; "The serial in force of each list on each box."; {"serial": "postern_list_serial{\(at),list=~\"$list\"}"})
]);

def quantile($q; $metric; $by; $more): "histogram_quantile(\($q), sum by (le\($by)) (rate(\($metric)_bucket{\(at)\($more)}[$__rate_interval])))";

def resolver: dashboard("postern-resolver"; "postern: resolver and DNSSEC health"; "Latency, cache, upstream, validation."; [
  panel("Latency, 99 of 100"; "s"; "Time from reading a query to its response, by where the answer came from."; {"{{served}}": quantile(0.99; "postern_response_duration_seconds"; ", served"; "")}),
  panel("Latency, half"; "s"; "The same for the middle query."; {"{{served}}": quantile(0.5; "postern_response_duration_seconds"; ", served"; "")}),
  panel("Hits of the answer cache"; "percentunit"; "Share of lookups that found a live answer."; {"{{instance}}": "sum by (instance) (\(rate_of("postern_cache_lookups_total"; ",cache=\"answer\",result=\"hit\""))) / sum by (instance) (\(rate_of("postern_cache_lookups_total"; ",cache=\"answer\"")))"}),
  panel("RRset cache"; "reqps"; "Steps of resolutions by what the cache of RRsets had: stale means that the servers did not answer and expired data was given."; {"{{result}}": "sum by (result) (\(rate_of("postern_cache_lookups_total"; ",cache=\"rrset\"")))"}),
  panel("Evictions"; "reqps"; "Entries that had to make room before they expired. A steady stream: cache.bytes is too small for this post."; {"{{cache}} {{instance}}": rate_of("postern_cache_evictions_total"; "")}),
  panel("Cache memory"; "bytes"; "Bytes held by each cache."; {"{{cache}} {{instance}}": "postern_cache_bytes{\(at)}"}),
  panel("Other servers, 99 of 100"; "s"; "Time until a name server or forwarder answered."; {"{{transport}}": quantile(0.99; "postern_upstream_duration_seconds"; ", transport"; "")}),
  panel("Other servers fail"; "reqps"; "Queries to other servers that brought nothing, by reason. case_mismatch and many timeouts together: somebody guesses."; {"{{reason}}": "sum by (reason) (\(rate_of("postern_upstream_errors_total"; "")))"}),
  panel("Forwarders answer"; "short"; "1 while a configured forwarder answers, 0 after two silences in a row."; {"{{forwarder}} {{instance}}": "postern_forwarder_up{\(at)}"}),
  panel("Forwarder round trip"; "s"; "Smoothed round-trip time to each configured forwarder."; {"{{forwarder}} {{instance}}": "postern_forwarder_rtt_seconds{\(at)}"}),
  panel("Validation, 99 of 100"; "s"; "Time to validate one reply, fetching keys included."; {"{{instance}}": quantile(0.99; "postern_validation_duration_seconds"; ", instance"; "")}),
  (panel("DNSSEC status"; "reqps"; "Outcomes of resolutions by status."; {"{{status}}": "sum by (status) (\(rate_of("postern_validations_total"; "")))"}) | stacked),
  panel("Extended errors"; "reqps"; "Extended DNS Errors sent, by info code (RFC 8914)."; {"EDE {{code}}": "sum by (code) (\(rate_of("postern_extended_errors_total"; ""))) > 0"}),
  stat("Clock not trusted"; "short"; "Boxes whose clock is below its floor: no signature time is judged there."; "count(postern_clock_trusted{\(at)} == 0) or vector(0)"; [red(1)]),
  stat("Trust anchors"; "short"; "Fewest root keys in use on any box."; "min(postern_trust_anchors{\(at)})"; []),
  stat("Budgets used up"; "short"; "Queries given up in an hour because they cost too much work."; "sum(increase(postern_budget_exhausted_total{\(at)}[1h]))"; [yellow(100)])
]);

def appliance: dashboard("postern-appliance"; "postern: appliance and sensor"; "The box: load, drops, memory; and what the sensor sees."; [
  (panel("Queries by transport"; "reqps"; "Queries read, by transport."; {"{{transport}}": "sum by (transport) (\(rate_of("postern_queries_total"; "")))"}) | stacked),
  (panel("Queries by type"; "reqps"; "Queries read, by type."; {"{{qtype}}": "sum by (qtype) (\(rate_of("postern_queries_total"; ""))) > 0"}) | stacked),
  panel("Dropped"; "reqps"; "Packets and streams without an answer, by reason. queue_full and send_failed are ours; the rest is what others send."; {"{{reason}}": "sum by (reason) (\(rate_of("postern_dropped_total"; "")))"}),
  panel("Refused"; "reqps"; "Queries answered with a refusal, by reason. acl: somebody outside the served networks asks."; {"{{reason}}": "sum by (reason) (\(rate_of("postern_refused_total"; "")))"}),
  panel("Memory"; "bytes"; "Memory of the process alone; file pages left out, which the kernel can take back."; {"{{instance}}": "postern_resident_anonymous_bytes{\(at)}"}),
  panel("CPU"; "percentunit"; "CPU time per second; 1 is one processor."; {"{{instance}}": rate_of("process_cpu_seconds_total"; "")}),
  panel("Waiting queries"; "short"; "Queries that wait for a resolution."; {"{{instance}}": "postern_queue_depth{\(at)}"}),
  panel("Open streams"; "short"; "Client streams (TCP) open now."; {"{{instance}}": "postern_open_streams{\(at)}"}),
  panel("Hosts past us"; "reqps"; "Sightings of hosts that ask another resolver, by means: postern sensor status names them."; {"{{means}}": "sum by (means) (\(rate_of("postern_sensor_bypass_total"; "")))"}),
  panel("Frames at the sensor"; "reqps"; "Frames read, and frames that the kernel had to drop because the sensor was too slow."; {"{{interface}} read": "sum by (interface) (\(rate_of("postern_sensor_frames_total"; "")))", "{{interface}} dropped": "sum by (interface) (\(rate_of("postern_sensor_kernel_dropped_total"; "")))"})
]);

{overview: overview, lists: lists, resolver: resolver, appliance: appliance}
