"""The processes of a server: started, asked what they speak, checked, renewed, ended."""
