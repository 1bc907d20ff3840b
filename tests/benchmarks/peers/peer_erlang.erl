%% The workloads on Erlang/OTP: peer_erlang:main(["serve"]), or [Node, Style | Workloads]; started by peer_erlang.py.
%% A process stands for an actor. Messages are tuples with an integer and a binary. Tells are plain messages. An ask is
%% what OTP has for it, gen_server:call, which has a time-out, notices that the other ends, and drops a late reply; in
%% the style "plain" it is a message there and one back, which has the time-out only.
-module(peer_erlang).
-behaviour(gen_server).
-export([main/1, sink/2, init/1, handle_call/3, handle_cast/2]).

-define(TEXT, <<"the quick brown fox jumps over the lazy dog and then once more">>).
-define(YIELD_EVERY, 100).
-define(FORWARDERS, 100).
-define(IN_FLIGHT, 64).
-define(ASK_TIMEOUT, 60000).

main(["serve"]) ->
    register(server, spawn(?MODULE, sink, [0, none])),
    {ok, _} = gen_server:start({local, answering}, ?MODULE, [], []),
    io:format("{\"node\": \"~s\"}~n", [node()]),
    io:get_line(""),
    halt(0);
main([Server, StyleName | Workloads]) ->
    Style = list_to_atom(StyleName),
    case Server of
        "none" -> ok;
        _ -> pong = net_adm:ping(list_to_atom(Server))
    end,
    Target = {server(Style), list_to_atom(Server)},
    lists:foreach(
        fun(Text) ->
            [Name, Count] = string:split(Text, ":"),
            show(Name, run(Name, list_to_integer(Count), Style, Target))
        end,
        Workloads),
    halt(0).

server(call) -> answering;
server(plain) -> server.

%% The gen_server that is asked with gen_server:call.
init([]) -> {ok, none}.
handle_call({ask, Number, _}, _, State) -> {reply, Number, State}.
handle_cast(_, State) -> {noreply, State}.

show(Name, {Operations, Seconds, Cpu, Extra}) ->
    io:format("{\"workload\": \"~s\", \"operations\": ~b, \"seconds\": ~.9f, \"cpu_seconds\": ~.6f~s}~n",
              [Name, Operations, Seconds, Cpu, [io_lib:format(", \"~s\": ~.3f", [Key, float(Value)]) || {Key, Value} <- Extra]]).

%% Time Fun, which returns the extra figures. The processor time is that of all threads of this node.
timed(Count, Fun) ->
    erlang:garbage_collect(),
    {Cpu, _} = statistics(runtime),
    Start = erlang:monotonic_time(nanosecond),
    Extra = Fun(),
    Seconds = (erlang:monotonic_time(nanosecond) - Start) / 1.0e9,
    {CpuAfter, _} = statistics(runtime),
    {Count, Seconds, (CpuAfter - Cpu) / 1000, Extra}.

run("L1", Count, _, _) -> tell(Count, ?YIELD_EVERY);
run("L1burst", Count, _, _) -> tell(Count, Count + 1);
run("L2", Count, Style, _) ->
    Pid = start_answering(Style),
    asks(fun() -> ask(Style, Pid, ?TEXT) end, Count, 50);
run("L3", Count, _, _) ->
    Self = self(),
    One = spawn(fun() -> receive {other, Pid} -> hop(Count div 2, Pid, Self) end end),
    Two = spawn(fun() -> hop(Count div 2, One, Self) end),
    One ! {other, Two},
    timed(Count, fun() -> One ! {item, 1, ?TEXT}, wait(done), [] end);
run("L4" ++ _, Count, _, _) ->
    Self = self(),
    Before = erlang:memory(total),
    {Operations, Seconds, Cpu, _} = timed(Count, fun() -> spawn_all(Count, Self), wait_many(Count), [] end),
    {Operations, Seconds, Cpu, [{"bytes_per_actor", (erlang:memory(total) - Before) / Count}]};
run("L5", Count, _, _) ->
    Self = self(),
    Target = spawn(fun() -> count_down(Count, Self) end),
    Forwarders = [spawn(fun() -> forward(Target) end) || _ <- lists:seq(1, ?FORWARDERS)],
    timed(Count, fun() -> fan(Forwarders, Count), wait(done), [] end);
run("R1", Count, _, {_, Node}) ->
    Target = {server, Node},
    ask(plain, Target, ?TEXT),
    timed(Count, fun() -> send(Target, Count, ?YIELD_EVERY), Target ! {drained, Count, self()}, wait(drained), [] end);
run("R2", Count, Style, Target) -> asks(fun() -> ask(Style, Target, ?TEXT) end, Count, 50);
run("R3", Count, Style, Target) ->
    Self = self(),
    ask(Style, Target, ?TEXT),
    Each = Count div ?IN_FLIGHT,
    timed(Each * ?IN_FLIGHT, fun() ->
        [spawn(fun() -> repeat(fun() -> ask(Style, Target, ?TEXT) end, Each), Self ! started end)
            || _ <- lists:seq(1, ?IN_FLIGHT)],
        wait_many(?IN_FLIGHT), [] end);
run("R4", Count, Style, Target) ->
    Large = binary:copy(<<"x">>, 1024 * 1024),
    asks(fun() -> ask(Style, Target, Large) end, Count, 1).

tell(Count, Every) ->
    Self = self(),
    Pid = spawn(fun() -> count_down(Count, Self) end),
    timed(Count, fun() -> send(Pid, Count, Every), wait(done), [] end).

send(_, 0, _) -> ok;
send(Target, Count, Every) ->
    Target ! {item, 1, ?TEXT},
    case Count rem Every of 0 -> erlang:yield(); _ -> ok end,
    send(Target, Count - 1, Every).

count_down(0, Owner) -> Owner ! done;
count_down(Left, Owner) -> receive {item, _, _} -> count_down(Left - 1, Owner) end.

start_answering(call) -> {ok, Pid} = gen_server:start(?MODULE, [], []), Pid;
start_answering(plain) -> spawn(fun() -> answer() end).

answer() -> receive {ask, From, Ref, Number, _} -> From ! {Ref, Number}, answer() end.

ask(call, Target, Text) -> gen_server:call(Target, {ask, 1, Text}, ?ASK_TIMEOUT);
ask(plain, Target, Text) ->
    Ref = make_ref(),
    Target ! {ask, self(), Ref, 1, Text},
    receive {Ref, Number} -> Number after ?ASK_TIMEOUT -> exit(timeout) end.

asks(Ask, Count, WarmUp) ->
    repeat(Ask, WarmUp),
    timed(Count, fun() ->
        Ordered = lists:sort([latency(Ask) || _ <- lists:seq(1, Count)]),
        [{"median_us", lists:nth(Count div 2 + 1, Ordered) / 1000},
         {"p99_us", lists:nth(Count * 99 div 100 + 1, Ordered) / 1000}] end).

latency(Ask) ->
    Start = erlang:monotonic_time(nanosecond),
    Ask(),
    erlang:monotonic_time(nanosecond) - Start.

repeat(_, 0) -> ok;
repeat(Fun, Count) -> Fun(), repeat(Fun, Count - 1).

hop(0, _, Owner) -> Owner ! done;
hop(Left, Other, Owner) -> receive {item, _, _} = Item -> Other ! Item, hop(Left - 1, Other, Owner) end.

spawn_all(0, _) -> ok;
spawn_all(Count, Owner) ->
    spawn(fun() -> Owner ! started, receive stop -> ok end end),
    spawn_all(Count - 1, Owner).

forward(Target) -> receive Item -> Target ! Item, forward(Target) end.

fan(_, Count) when Count =< 0 -> ok;
fan(Forwarders, Count) ->
    [Pid ! {item, 1, ?TEXT} || Pid <- lists:sublist(Forwarders, Count)],
    erlang:yield(),
    fan(Forwarders, Count - ?FORWARDERS).

sink(Count, {Number, Owner}) when Count >= Number -> Owner ! drained, sink(0, none);
sink(Count, Waiting) ->
    receive
        {item, _, _} -> sink(Count + 1, Waiting);
        {ask, From, Ref, Number, _} -> From ! {Ref, Number}, sink(Count, Waiting);
        {drained, Number, Owner} -> sink(Count, {Number, Owner})
    end.

wait(Message) -> receive Message -> ok end.

wait_many(0) -> ok;
wait_many(Count) -> receive started -> wait_many(Count - 1) end.
