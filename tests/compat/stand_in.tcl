# Redis writes its snapshots in a forked child, which the suite ends by `kill -9`. Russet writes
# them on a thread. So the "child" is a name that stands for what the server writes at the moment,
# and killing it is DEBUG ABORT-BACKGROUND: the job fails as a killed child's would.
#
# The file that the "child" writes is named by the server's process id.
#
# tests/compat/run appends this to the suite's support/util.tcl.

proc get_child_pid {idx} {
    return "background@[srv $idx host]@[srv $idx port]@[srv $idx pid]"
}

rename exec exec_of_tcl

proc exec {args} {
    set last [lindex $args end]
    if {[lindex $args 0] ne "kill" || ![string match "background@*" $last]} {
        return [uplevel 1 [list exec_of_tcl {*}$args]]
    }
    lassign [split $last @] _ host port pid
    set client [redis $host $port 0 $::tls]
    set failed [catch {$client debug abort-background} reply]
    $client close
    if {$failed} {
        error $reply
    }
}

rename file file_of_tcl

proc file {args} {
    set names [lmap name $args {
        regsub {temp-background@[^@]*@[0-9]+@([0-9]+)\.rdb$} $name {temp-\1.rdb}
    }]
    return [uplevel 1 [list file_of_tcl {*}$names]]
}
