# What systemd is to a service, as far as its descriptor store goes: service-manager.py SOCKET ORDERS RUNTIME WORDS...
# Each line of the pipe ORDERS, "start" or "start WORDS", starts the service (WORDS... and those) with what is in the store. What
# happens is printed as one JSON text a line: a message of the service, the end of its main process.
import json, os, shlex, socket, sys, threading

path, orders, runtime, *words = sys.argv[1:]
hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
hears.bind(path)
store = {}

def say(**what):
    print(json.dumps(what), flush=True)

def start(more):
    names = list(store)
    pid = os.fork()
    if pid:
        say(started=pid)
        threading.Thread(target=await_end, args=(pid,), daemon=True).start()
        return
    # What it prints is no event.
    os.dup2(2, 1)
    # Out of the way first: a number that is wanted may be in use.
    high = [os.dup(os.dup2(store[name], 100 + nth)) for nth, name in enumerate(names)]
    for nth, fd in enumerate(high):
        os.dup2(fd, 3 + nth, inheritable=True)
    environment = {**os.environ, 'NOTIFY_SOCKET': path, 'FLISTFS_RUNTIME': runtime, 'FLISTFS_FDSTORE': '1'}
    if names:
        environment |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': str(len(names)), 'LISTEN_FDNAMES': ':'.join(names)}
    os.execvpe(words[0], words + more, environment)

def await_end(pid):
    _, status = os.waitpid(pid, 0)
    say(ended=pid, code=os.waitstatus_to_exitcode(status))

def listen():
    while True:
        data, fds, _, _ = socket.recv_fds(hears, 65536, 8)
        lines = data.decode().split('\n')
        fields = dict(line.split('=', 1) for line in lines)
        name = fields.get('FDNAME', 'stored')
        if fields.get('FDSTORE') == '1':
            for fd in fds:
                store[name] = fd
        if fields.get('FDSTOREREMOVE') == '1' and name in store:
            os.close(store.pop(name))
        say(message=lines, fds=len(fds), store=list(store))

threading.Thread(target=listen, daemon=True).start()
say(ready=True)
while True:
    with open(orders) as pipe:
        for line in pipe:
            start(shlex.split(line)[1:])
