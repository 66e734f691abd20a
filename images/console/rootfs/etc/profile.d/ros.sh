# Completion of `ros`. It is loaded when it is used first, so that no login waits for it; 124 makes
# bash try again.
if [ -n "$BASH_VERSION" ]; then
    _ros_load() { eval "$(ros completion bash)" && return 124; }
    complete -F _ros_load ros
fi
